"""A small corpus in five languages, as docs/formats.md has it, and a reader of shards that shares no code with ours."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard

from palimpsest.artifact import write_manifest
from palimpsest.tokens.build_tokenizer import build_tokenizer

LANGUAGES = ("en", "fr", "de", "ar", "ja")
SENTENCES = {
    "en": "The miller's daughter didn't sleep. At 12:45 a cart of 3500 apples rolled by. Who would've thought it? "
    "Rain fell on the slate roofs, softly. She counted the bells; nobody answered.",
    "fr": "L’été dernier, nous avons traversé la vallée à pied. Le garçon cherchait sa clé près du vieux chêne. "
    "Qu’est-ce que c’est ? Un œuf coûte 1,25 €. Là-bas, la forêt brûlait déjà.",
    "de": "Über den Dächern kreisten fünf Störche. Die Straße nach Süden war gesperrt. Wer hätte das gedacht? "
    "Im Jahr 1897 zählte das Dorf 214 Einwohner. Der Müller grüßte höflich.",
    "ar": "جلس الصياد قرب النهر ينتظر الفجر. كَتَبَ الطالب رسالةً طويلة إلى أمه. هل رأيتم القمر الليلة؟ "
    "بلغ عدد السكان ١٢٣٤ نسمة. عادت السفينة، ولم يعد أحد.",
    "ja": "山の上に小さな寺があった。雨が止むと、子供たちは川へ走った。値段は三百円です！ "
    "「もう帰ろう」と彼は言った。カメラとノートを机に置いた。",
}
NASTY = (
    "",
    " ",
    "\n\n\t \r\n  end",
    "<|endoftext|> looks special, <|endoftext|><|endoftext|> but </s> is not",
    "controls \x00\x01\x07\x1b[0m\x7f and \u200b\u200d\ufeff\u2028",
    "👩‍👩‍👧‍👦🏳️‍🌈🙂 1234567890 ½ Ⅷ ٣٤",
    "हिन्दी में लिखा, ภาษาไทย, עִבְרִית, 한국어, ქართული, አማርኛ, 𓀀𐍈, 汉字",
    "don't DON'T l’septième it’ll I'VE 's",
    "x" * 3000 + " " * 3000 + "\u0301" * 50,
    "\ufffd \U0010ffff \ue000",
)


def some_text(language: str, number: int, seed: int) -> str:
    """``number`` words of the language's sentences, in an order of their own."""
    rng = random.Random(f"{language}/{seed}")
    parts = SENTENCES[language].replace("。", "。 ").split(" ")
    return " ".join(rng.choice(parts) for _ in range(number))


def documents(language: str, number: int, seed: int) -> list[str]:
    return [some_text(language, 5 + (i * 37) % 90, seed * 1000 + i) for i in range(number)]


@pytest.fixture(scope="session")
def write_corpus() -> Callable[..., Path]:
    """write_corpus(folder, train=[[text, …], …], validation=[…]) → a finished corpus folder; a list is a shard.

    A dict of such lists, by source, instead of a list gives several sources; else the one source is "given".
    """

    def write(folder: Path, **splits: list[list[str]] | dict[str, list[list[str]]]) -> Path:
        files, counts = [], {}
        for split, sources in splits.items():
            named = sources if isinstance(sources, dict) else {"given": sources}
            texts = [text for shards in named.values() for shard in shards for text in shard]
            counts[split] = {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}
            for name, number, shard in ((n, i, s) for n, shards in named.items() for i, s in enumerate(shards)):
                path = folder / split / f"{name}-{number:05}.jsonl.zst"
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [json.dumps({"id": f"{number}/{i}", "text": t, "score": 0.9}) for i, t in enumerate(shard)]
                path.write_bytes(zstandard.compress("".join(line + "\n" for line in lines).encode()))
                files.append(path)
        write_manifest(folder, stage="corpus", params={}, inputs={}, files=files, counts=counts)
        return folder

    return write


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[..., Path]) -> dict[str, Path]:
    """Language → corpus folder, with three training shards and one held-out shard; each split has nasty documents."""
    root = tmp_path_factory.mktemp("corpus")
    return {
        language: write_corpus(
            root / language,
            train=[[*documents(language, 30, 1), *NASTY], documents(language, 5, 2), documents(language, 40, 3)],
            validation=[[*documents(language, 12, 4), *NASTY]],
        )
        for language in LANGUAGES
    }


def tokenizer_spec(**settings: object) -> dict[str, object]:
    defaults = {"vocab_size": 700, "sample_mb": 1, "path": None, "hub": None, "revision": None}
    return {"tokenizer": defaults | settings, "languages": list(LANGUAGES), "revision": 1}


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., dict[str, object]]:
    return tokenizer_spec


@pytest.fixture(scope="session")
def tokens_spec() -> Callable[..., dict[str, object]]:
    """tokens_spec(language, source=(weight, max_tokens), …); without sources the one that write_corpus writes."""

    def make(language: str, **sources: tuple[float | None, int | None]) -> dict[str, object]:
        named = {name: {"weight": w, "max_tokens": n} for name, (w, n) in (sources or {"given": (None, None)}).items()}
        return {"language": language, "sources": named, "revision": 1}

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, corpora: dict[str, Path]) -> Path:
    """A data/tokenizer folder, trained on the small corpora."""
    out = tmp_path_factory.mktemp("data") / "tokenizer"
    build_tokenizer(tokenizer_spec(), corpora, out)
    return out


@pytest.fixture(scope="session")
def read_shard() -> Callable[[Path], list[list[int]]]:
    """Read a shard from the description of the format alone."""

    def read(prefix: Path) -> list[list[int]]:
        index, tokens = Path(f"{prefix}.idx").read_bytes(), Path(f"{prefix}.bin").read_bytes()
        assert index[:9] == b"MMIDIDX\x00\x00"
        version, code, count, bounds = struct.unpack("<QBQQ", index[9:34])
        dtype = {4: "<i4", 8: "<u2"}[code]
        lengths = np.frombuffer(index, "<i4", count, 34)
        pointers = np.frombuffer(index, "<i8", count, 34 + 4 * count)
        ends = np.frombuffer(index, "<i8", bounds, 34 + 12 * count)
        assert version == 1 and len(index) == 34 + 12 * count + 8 * bounds
        assert ends.tolist() == list(range(count + 1))
        return [
            np.frombuffer(tokens, dtype, n, start).tolist() for n, start in zip(lengths, pointers.tolist(), strict=True)
        ]

    return read
