"""Reads corpus shards: streams the texts of a .jsonl.zst file, and batches them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
import zstandard

from palimpsest.errors import DataError

_CHUNK = 1 << 20


def read_texts(path: Path) -> Iterator[str]:
    """The ``text`` of every line. Memory: 1 MiB and the longest line. Raises DataError with the line number."""
    number = 0
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_size=_CHUNK, read_across_frames=True)
        try:
            for line in io.BufferedReader(stream, _CHUNK):
                number += 1
                text = orjson.loads(line)["text"]
                if not isinstance(text, str):
                    raise TypeError(f"text is {type(text).__name__}, expected a string")
                yield text
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}: line {number}: not a document with a text ({error!r}){_REMEDY}") from None
        except zstandard.ZstdError as error:
            raise DataError(f"{path}: after line {number}: not valid zstd ({error}){_REMEDY}") from None


def batch_texts(documents: Iterable[str], batch_bytes: int) -> Iterator[tuple[list[str], list[int]]]:
    """Batches of documents with their sizes in bytes, of about ``batch_bytes`` each or one longer document."""
    batch: list[str] = []
    sizes: list[int] = []
    total = 0
    for text in documents:
        size = len(text.encode())
        if batch and total + size > batch_bytes:
            yield batch, sizes
            batch, sizes, total = [], [], 0
        batch.append(text)
        sizes.append(size)
        total += size
    if batch:
        yield batch, sizes


_REMEDY = "; delete its folder's manifest.json and run the corpus stage again"
