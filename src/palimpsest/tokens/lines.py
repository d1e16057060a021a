"""The reader of corpus shards: the texts of a .jsonl.zst file, one after another."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import orjson
import zstandard

from palimpsest.errors import DataError

_CHUNK = 1 << 20


def texts(path: Path) -> Iterator[str]:
    """The ``text`` of every line, holding a MiB and the longest line. Raises DataError with the line number."""
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
            raise DataError(f"{path}: line {number}: not a document with a text ({error!r}){_MEND}") from None
        except zstandard.ZstdError as error:
            raise DataError(f"{path}: after line {number}: not valid zstd ({error}){_MEND}") from None


_MEND = "; delete its folder's manifest.json and run the corpus stage again"
