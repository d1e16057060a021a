"""The fast encoder against ``tokenizers``: the same ids for every text, and bounded memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from palimpsest.tokens.corpus_reader import batch_texts, read_texts
from palimpsest.tokens.encoders import Encoder, FastEncoder, FastEncoderError, ReferenceEncoder, fast_encoder

SCRIPTS = (
    "Latin é Straße ŒUVRE Įžuolas; Кириллица; Ελληνικά; العَرَبِيَّة; עִבְרִית; हिन्दी में; বাংলা; தமிழ்; ไทยทำ; ລາວ; བོད་; မြန်မာ; "
    "ქართული; Հայերեն; አማርኛ; ខ្មែរ; ᠮᠣᠩᠭᠣᠯ\u180e; ᏣᎳᎩ; 漢字かなカナ; 한국어; 𓀀𐍈𝒳; ߒߞߏ; ⵜⴰⵎ; "
).split("; ")
PARTS = (
    *SCRIPTS,
    *(
        "<|endoftext|>",
        "<|end_of_text|>",
        "</s>",
        "<tool>",
        "   ",
        " " * 40,
        "\t\t",
        "\n\n\n",
        "\r\n",
        "\r",
        "\x00",
        "\x1b[0m",
    ),
    *("\u200b", "\u200d", "\ufeff", "\u2028", "\x85", "\xa0", "\u3000", "\ufffd", "\U0010ffff", "\ue000", "\u0301" * 9),
    *(
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈",
        "🇫🇷",
        "'s",
        "’S",
        "'LL",
        "don't",
        "123456",
        "٣٤",
        "½Ⅷ",
        "HTTPServer",
        "iPhone",
        "--->",
        "//",
        "。」",
    ),
)
ANY = st.text() | st.text(st.characters(categories=["Zs", "Cc", "Cf", "Mn", "Nd", "Po", "Lu", "Lt", "Lm"]))
MIXED = st.lists(st.sampled_from(PARTS) | st.text(max_size=3) | st.sampled_from(" aZ1.\n'"), max_size=30).map("".join)
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)


def given_tokenizer(pieces: str, **model: Any) -> Tokenizer:
    """A tokenizer with special and other added tokens; without ``pieces`` text is split as in StarCoder."""
    made = Tokenizer(models.BPE(**model))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not pieces)
    split = [pre_tokenizers.Split(Regex(pieces), behavior="isolated")] if pieces else [pre_tokenizers.Digits()]
    made.pre_tokenizer = pre_tokenizers.Sequence([*split, byte_level])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<|end_of_text|>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*SCRIPTS, *PARTS] * 5, trainer)
    made.add_tokens(["   ", "<tool>", AddedToken("Phone", single_word=True)])
    made.enable_truncation(5)
    return made


Pairs = dict[str, tuple[ReferenceEncoder, FastEncoder]]
KINDS: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": lambda: given_tokenizer(GPT_2),
    "starcoder": lambda: given_tokenizer(""),
    "llama3": lambda: given_tokenizer(LLAMA_3, ignore_merges=True),
    "own": lambda: given_tokenizer(r"[\p{L}\p{M}]+|\d|\p{N}+|[^\p{L}\p{M}\p{N}\s]+|\s+(?!\S)|\s+"),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Pairs:
    """Reference and fast encoder, with the tokenizer that this project trains and with others."""
    folder = tmp_path_factory.mktemp("given")
    files = {name: folder / f"{name}.json" for name in KINDS}
    for name, path in files.items():
        KINDS[name]().save(str(path))
    files["trained"] = trained / "tokenizer.json"
    references = {name: ReferenceEncoder(path) for name, path in files.items()}
    return {name: (references[name], FastEncoder(path, references[name])) for name, path in files.items()}


def assert_same(reference: Encoder, engine: Encoder, documents: list[str]) -> None:
    expected, found = reference.encode(documents), engine.encode(documents)
    assert found.lengths.tolist() == expected.lengths.tolist()
    assert np.array_equal(found.ids, expected.ids)


@pytest.mark.parametrize("kind", ["trained", *KINDS])
@given(documents=st.lists(ANY | MIXED, max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_text_has_the_same_ids(pairs: Pairs, kind: str, documents: list[str]) -> None:
    assert_same(*pairs[kind], documents)


@pytest.mark.parametrize("kind", ["trained", *KINDS])
def test_special_looking_text_is_text(pairs: Pairs, kind: str) -> None:
    """Ids of special tokens never come out; other added tokens do, as in the reference."""
    rng = random.Random(kind)
    assert_same(*pairs[kind], ["".join(rng.choices(PARTS, k=rng.randrange(12))) for _ in range(500)])
    ids = pairs[kind][1].encode(["a<|endoftext|>b</s><|end_of_text|>"]).ids
    assert ids.min() > 1  # the trained one has one special token, the others two, at the beginning


@pytest.mark.parametrize("kind", ["trained", *KINDS])
def test_the_one_character_on_which_they_differ(pairs: Pairs, kind: str) -> None:
    odd = ["a\u180e \u180eb", "\u180e", "ᠮᠣᠩ\u180eᠭᠣᠯ", "a \u180e\u180e1"]
    for documents in (odd, ["before", *odd, "after"], ["", odd[0], "between", odd[1]]):
        assert_same(*pairs[kind], documents)


@pytest.mark.slow
def test_every_character_has_the_same_ids(pairs: Pairs) -> None:
    """Each code point between letters, digits, signs, spaces and line ends, with the tokenizer trained here."""
    for first in range(0, 0x110000, 0x4000):
        characters = [chr(c) for c in range(first, first + 0x4000) if not 0xD800 <= c < 0xE000]
        assert_same(*pairs["trained"], [f"a{c}b {c}1{c}.{c}\n{c}A{c}{c} 's{c}'s  {c}\t" for c in characters])


def long_documents(size: int) -> Iterator[tuple[str, str]]:
    rng = random.Random(0)
    yield "no spaces", "".join(rng.choices("abcdefghijklmnop", k=size))
    yield "no spaces, Japanese", "".join(chr(rng.randrange(0x3041, 0x9FA0)) for _ in range(size // 3))
    for character in "a-1\n\u0301":
        yield f"of {character!r}", character * (size // len(character.encode()))
    yield "of spaces", " " * (size - 1) + "x"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in long_documents(9)])
def test_documents_of_4_mb(pairs: Pairs, name: str) -> None:
    assert_same(*pairs["trained"], [dict(long_documents(4_000_000))[name]])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trained", *KINDS])
def test_real_text(pairs: Pairs, kind: str) -> None:
    root = os.environ.get("PALIMPSEST_TEXT")
    if not root:
        pytest.skip("PALIMPSEST_TEXT names no folder of real text")
    files = sorted(Path(root).glob("train/train.*.jsonl.zst"))
    for path in files:
        for batch, _ in batch_texts(read_texts(path), 1 << 22):
            # with all of it, the one that counts; with a tenth of every document, the others
            assert_same(*pairs[kind], batch if kind == "trained" else [text[: len(text) // 10] for text in batch])
    assert files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "bound"), [("'a' * size", 60), ("' ' * size", 60), ("'word and ' * (size // 9)", 16)]
)
def test_memory_of_a_long_document(trained: Path, document: str, bound: int) -> None:
    """16 MiB, the longest that cleaning lets through: at most ``bound`` bytes of memory for each byte of it."""
    program = f"""
        from pathlib import Path
        from palimpsest.tokens.encoders import ReferenceEncoder, FastEncoder
        file, size = Path({str(trained / "tokenizer.json")!r}), 16 << 20
        engine = FastEncoder(file, ReferenceEncoder(file))
        engine.encode(["warm " * 1000])
        document = {document}
        status = Path("/proc/self/status")  # the peak that getrusage knows may be that of the parent
        peak = lambda: 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
        before = peak()
        engine.encode([document])
        print((peak() - before) / size)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert 1 < float(result.stdout) < bound


@pytest.mark.parametrize("pattern", [r"\w+|\W", r"[^\W\d]+|[\s\S]", r"\b", r"[[:alpha:]]+|[\s\S]", None])
def test_patterns_that_the_encoders_interpret_differently(tmp_path: Path, pattern: str | None, trained: Path) -> None:
    """½, for example, is part of a word in one of them and not in the other."""
    made = given_tokenizer(pattern or r"\S+|\s+")
    if pattern is None:
        made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), made.pre_tokenizer])
    made.save(str(tmp_path / "t.json"))
    with pytest.raises(FastEncoderError, match=r"its pattern has|it splits text by Whitespace"):
        FastEncoder(tmp_path / "t.json", ReferenceEncoder(tmp_path / "t.json"))
    assert fast_encoder(tmp_path / "t.json", ReferenceEncoder(tmp_path / "t.json")) is None
    assert ReferenceEncoder(trained / "tokenizer.json").ambiguity() is None


def test_the_fast_encoder_refuses_what_it_cannot_do(tmp_path: Path, pairs: Pairs) -> None:
    made = given_tokenizer("")
    made.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Nmt()])
    made.save(str(tmp_path / "t.json"))
    reference = pairs["trained"][0]
    assert fast_encoder(tmp_path / "t.json", reference) is None
    with pytest.raises(FastEncoderError, match="normalizer"):
        FastEncoder(tmp_path / "t.json", reference)
    with pytest.raises(FastEncoderError, match="UnicodeEncodeError"):
        pairs["trained"][1].encode(["\ud800"])
