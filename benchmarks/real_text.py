"""Shared by the benchmarks of the corpus stage: options, real text in pieces, and datatrove's own word splitters."""

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import zstandard
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer

PIECE_CHARACTERS = range(500, 3001)
# The names under which datatrove looks up a language's splitter.
_DATATROVE_LANGUAGES = {"en": "eng_Latn", "fr": "fra_Latn", "de": "deu_Latn", "ar": "arb_Arab", "ja": "jpn_Jpan"}


def arguments(description: str | None, documents: int) -> argparse.ArgumentParser:
    """The options, with a default number of documents."""
    parser = argparse.ArgumentParser(description=description)
    folder = os.environ.get("PALIMPSEST_TEXT")
    parser.add_argument(
        "--text", type=Path, default=folder, required=folder is None, help="folder with train/train.*.jsonl.zst"
    )
    parser.add_argument("--languages", nargs="+", default=list(_DATATROVE_LANGUAGES))
    parser.add_argument("--documents", type=int, default=documents, help="of each language")
    return parser


def pieces(folder: Path, language: str, count: int) -> list[str]:
    """Texts the length of a web page: at most four from a document, since many are novels."""
    return list(islice(_pieces(folder, language), count))


def _pieces(folder: Path, language: str) -> Iterator[str]:
    longest = PIECE_CHARACTERS[-1]
    with zstandard.open(folder / "train" / f"train.{language}.jsonl.zst", "rb") as file:
        for line in io.TextIOWrapper(file, encoding="utf-8"):
            text = json.loads(line)["text"]
            for start in range(0, min(len(text), 4 * longest), longest):
                if len(piece := text[start : start + longest]) in PIECE_CHARACTERS:
                    yield piece


def own_splitter(language: str) -> WordTokenizer:
    """datatrove's own word splitter of a language; exits when its libraries are not installed."""
    splitter = load_word_tokenizer(_DATATROVE_LANGUAGES[language])
    try:
        splitter.word_tokenize("1")
    except ImportError as error:
        sys.exit(f"{language}: datatrove's own splitter cannot be loaded ({error}); install palimpsest[benchmarks]")
    return splitter
