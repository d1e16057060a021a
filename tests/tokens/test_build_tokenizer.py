"""The tokenizer: decoding restores every byte, token sizes add up, equal work gives equal files."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpus_folder import write_corpus
from support.data_specs import tokenizer_spec
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from palimpsest import codec
from palimpsest.artifact import read_json, read_manifest, write_json
from palimpsest.errors import ArtifactError, DataError
from palimpsest.tokens.build_tokenizer import build_tokenizer
from palimpsest.tokens.byte_level import end_of_text, token_bytes
from palimpsest.tokens.corpus_reader import read_texts
from palimpsest.tokens.encoders import ReferenceEncoder
from palimpsest.tokens.tokenizer_sample import count_words, training_sample


def bytes_of(encoder: ReferenceEncoder, sizes: np.ndarray, text: str) -> int:
    ids = encoder.encode_batch([text])[0]
    assert encoder.decode(ids) == text
    return int(sizes[ids].sum())


def test_token_bytes_add_up(trained: Path, corpora: dict[str, Path]) -> None:
    encoder, sizes = ReferenceEncoder(trained / "tokenizer.json"), np.load(trained / "token_bytes.npy")
    assert sizes.dtype == np.int32 and sizes.shape == (read_manifest(trained, "tokenizer").counts["vocab_size"],)
    for folder in corpora.values():
        for path in read_manifest(folder, "corpus").paths("validation/"):
            for text in read_texts(path):
                assert bytes_of(encoder, sizes, text) == len(text.encode())


@pytest.fixture(scope="module")
def encoder(trained: Path) -> ReferenceEncoder:
    return ReferenceEncoder(trained / "tokenizer.json")


@given(text=st.text() | st.text(st.sampled_from("a1 \n\r\t'’sS.é\u0301本<|endoftext|>")))
@settings(max_examples=200, deadline=None)
def test_decoding_restores_any_text(trained: Path, encoder: ReferenceEncoder, text: str) -> None:
    sizes = np.load(trained / "token_bytes.npy")
    assert bytes_of(encoder, sizes, text) == len(text.encode())


def test_special_looking_text_is_text(trained: Path) -> None:
    ids = ReferenceEncoder(trained / "tokenizer.json").encode_batch(["a<|endoftext|>b"])[0]
    assert len(ids) > 3 and 0 not in ids
    plain = Tokenizer.from_file(str(trained / "tokenizer.json"))
    assert 0 in plain.encode("a<|endoftext|>b").ids  # so the test could fail


def test_the_manifest_has_the_true_counts(trained: Path, corpora: dict[str, Path]) -> None:
    manifest = read_manifest(trained, "tokenizer")
    written = Tokenizer.from_file(str(trained / "tokenizer.json"))
    assert manifest.counts["vocab_size"] == written.get_vocab_size() == 700
    assert manifest.counts["end_of_text"] == written.token_to_id("<|endoftext|>") == 0
    assert manifest.inputs == {f"corpus/{name}": read_manifest(f, "corpus").digest for name, f in corpora.items()}
    written.encode_special_tokens = True
    held_out = [text for path in (corpora["de"] / "validation").iterdir() for text in read_texts(path)]
    tokens = sum(len(written.encode(text).ids) for text in held_out)
    fertility = manifest.counts["fertility"]["de"]
    assert fertility["tokens_per_byte"] == pytest.approx(
        tokens / sum(len(text.encode()) for text in held_out), abs=1e-6
    )
    assert set(manifest.counts["fertility"]) == set(tokenizer_spec().languages)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("it's 12345 o’clock", ["it's", " ", "123", "45", " o", "’clock"]),
        ("l'été I'VE iPhone", ["l", "'été", " I'VE", " i", "Phone"]),
        ("كَتَبَ हिन्दी", ["كَتَبَ", " हिन्दी"]),
        ("a  b\n\n  c;\r\nd", ["a", " ", " b", "\n\n", " ", " c", ";\r\n", "d"]),
        ("値段は300円です！", ["値段は", "300", "円です", "！"]),
    ],
)
def test_how_text_is_split_into_pieces(trained: Path, text: str, pieces: list[str]) -> None:
    split = Tokenizer.from_file(str(trained / "tokenizer.json")).pre_tokenizer
    assert [text[start:end] for _, (start, end) in split.pre_tokenize_str(text)] == pieces


def test_training_is_deterministic(trained: Path, corpora: dict[str, Path], tmp_path: Path) -> None:
    """A process with another hash seed and number of threads writes the same bytes."""
    write_json(tmp_path / "spec.json", codec.encode(tokenizer_spec()))
    folders = [str(corpora[language]) for language in sorted(corpora)]
    command = [sys.executable, "-m", "palimpsest.cli", "tokenizer", "--spec", str(tmp_path / "spec.json")]
    command += ["--corpora", *folders, "--out", str(tmp_path / "t")]
    for threads in ("1", "3"):
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        subprocess.run(command, env=environment, check=True)
        for name in ("tokenizer.json", "token_bytes.npy", "manifest.json"):
            assert (tmp_path / "t" / name).read_bytes() == (trained / name).read_bytes(), (threads, name)


def test_too_little_text_gives_a_smaller_vocabulary(
    corpora: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        build_tokenizer(tokenizer_spec(vocab_size=50_000), corpora, tmp_path)
    reached = read_manifest(tmp_path, "tokenizer").counts["vocab_size"]
    assert 257 < reached < 50_000
    assert f"{reached} entries, not the 50000" in caplog.text
    assert len(np.load(tmp_path / "token_bytes.npy")) == reached


def test_a_novel_is_not_the_whole_sample(tmp_path: Path) -> None:
    short = [f"{i:04} " * 200 for i in range(300)]
    folder = write_corpus(tmp_path / "en", train=[["n" * 900_000, *short], short, short], validation=[["v"]])
    sample = training_sample(read_manifest(folder, "corpus"), 600_000)
    size = sum(map(len, sample))
    assert 600_000 <= size <= 611_000
    assert sum(text.count("n") for text in sample) == 10_000
    assert sum(text.startswith("0000 ") for text in sample) == 3  # from each of the three shards
    sizes = [len(text) for text in training_sample(read_manifest(folder, "corpus"), 3_000_000)]
    assert sum(sizes) == 900_000 + 900 * 1000  # everything, since the budget is larger
    lone = write_corpus(tmp_path / "fr", train=[["n" * 900_000]], validation=[["v"]])
    assert sum(map(len, training_sample(read_manifest(lone, "corpus"), 600_000))) == 600_000


def test_words_are_counted_in_every_script() -> None:
    assert count_words("It's 3 o'clock,  now.\n") == 4
    assert count_words("हिन्दी में") == 2
    assert count_words("猫がいる。") == 5
    assert count_words("Das ノート ist da") == 6
    assert count_words(" \n") == 0


def byte_level(special: str = "<|end_of_text|>", **model: Any) -> Tokenizer:
    """A GPT-2 style tokenizer, as another project would build it."""
    made = Tokenizer(models.BPE(**model))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(["wood would"] * 9, trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    if special:
        made.add_special_tokens([special])
    return made


def save(made: Tokenizer, path: Path) -> Path:
    made.save(str(path))
    return path


def test_a_user_supplied_tokenizer_is_used_unchanged(corpora: dict[str, Path], tmp_path: Path) -> None:
    made = byte_level()
    made.add_tokens(["   ", "<tool>"])  # like the runs of spaces of some code models
    made.enable_truncation(5)
    path = save(made, tmp_path / "given.json")
    build_tokenizer(tokenizer_spec(path=str(path)), corpora, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out", "tokenizer")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == path.read_bytes()
    assert manifest.counts["end_of_text"] == made.token_to_id("<|end_of_text|>")
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()
    sizes, encoder = np.load(tmp_path / "out" / "token_bytes.npy"), ReferenceEncoder(path)
    assert sizes[made.token_to_id("<tool>")] == 6 and sizes[manifest.counts["end_of_text"]] == 0
    text = "<tool> would    you, été! <|end_of_text|>"
    assert bytes_of(encoder, sizes, text) == len(text.encode())


def prefix_space() -> Tokenizer:
    made = byte_level()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return made


def drops_spaces() -> Tokenizer:
    made = byte_level()
    parts = [pre_tokenizers.Split(Regex(" "), behavior="removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    made.pre_tokenizer = pre_tokenizers.Sequence(parts)
    return made


def dropout() -> Tokenizer:
    made = byte_level()
    made.model.dropout = 0.1
    return made


def eats_spaces() -> Tokenizer:
    made = byte_level()
    made.add_tokens([AddedToken("<tool>", lstrip=True)])
    return made


def decodes_wrongly() -> Tokenizer:
    """The decoder of tokenizers takes é for a byte, even in an added token."""
    made = byte_level()
    made.add_tokens(["é!"])
    return made


def unicode_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.train_from_iterator(["wood would"] * 9, trainers.BpeTrainer(special_tokens=["</s>"], show_progress=False))
    return made


def unigram() -> Tokenizer:
    return Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (prefix_space, "bytes become|is decoded as"),
        (drops_spaces, "is decoded as"),
        (dropout, "drops merges at random"),
        (eats_spaces, "'a <tool> b'"),
        (decodes_wrongly, "'a é! b' is decoded as"),
        (unicode_level, "of the 256 bytes have no token"),
        (unigram, "a Unigram model; expected a byte-level BPE"),
        (lambda: byte_level(special=""), "it has none"),
        (lambda: byte_level(special="<eos>"), "<eos>.* ends a text; expected one of"),
    ],
)
def test_tokenizers_that_are_not_byte_level_are_refused(
    corpora: dict[str, Path], tmp_path: Path, make: Callable[[], Tokenizer], message: str
) -> None:
    path = save(make(), tmp_path / "given.json")
    with pytest.raises(DataError, match=message) as error:
        build_tokenizer(tokenizer_spec(path=str(path)), corpora, tmp_path / "out")
    assert str(path) in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_files_that_are_not_tokenizers_are_refused(tmp_path: Path) -> None:
    for content, message in ((b"{", "not valid JSON"), (b"[1]", "no model"), (b"{}", "no model")):
        (tmp_path / "t.json").write_bytes(content)
        for read in (token_bytes, end_of_text):
            with pytest.raises(DataError, match=message):
                read(tmp_path / "t.json")
    with pytest.raises(DataError, match="no such file"):
        token_bytes(tmp_path / "absent.json")
    with pytest.raises(ArtifactError, match=r"t\.json: not a tokenizer\.json"):
        ReferenceEncoder(tmp_path / "t.json")


def test_ids_without_a_token_have_no_bytes(tmp_path: Path) -> None:
    path = save(byte_level(), tmp_path / "t.json")
    content = read_json(path)
    content["added_tokens"][0]["id"] += 10
    path.write_text(json.dumps(content))
    sizes = token_bytes(path)
    assert len(sizes) == end_of_text(path) + 1 and not sizes[-11:].any() and sizes[:-11].all()
