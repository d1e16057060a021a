"""The seam behind which encoding engines stand.

``Encoder`` is Hugging Face ``tokenizers``, which defines what is right. ``Engine`` is fastokens: the same ids, many
times as fast. It is young, so whoever uses it compares them (``palimpsest.tokens.shards``).

Both add nothing (no begin- or end-of-text), cut nothing, and encode text that looks like a special token as the plain
text that it is. Memory for each byte of a batch: fastokens 5 to 50 bytes (the most where a document is one endless
word), beside a cache of words that stops growing at about 300 MB; tokenizers up to 150.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import fastokens
import numpy as np
from tokenizers import Tokenizer

from palimpsest.errors import ArtifactError

logger = logging.getLogger(__name__)

_VOWEL_SEPARATOR = "\u180e"
_UNLIKE = re.compile(r"\\\\[wWbBhHRX]|\[\[:\w+:")  # in JSON, where a backslash is two
_ALIKE = {"Sequence", "Split", "ByteLevel", "Digits"}


class Encoded(NamedTuple):
    """The ids of several texts, one after another (1-D), and how many each text has (int64)."""

    ids: np.ndarray
    lengths: np.ndarray


def _joined(parts: list[np.ndarray], dtype: np.dtype[Any]) -> Encoded:
    return Encoded(
        ids=np.concatenate([np.empty(0, dtype=dtype), *parts]),
        lengths=np.array([len(part) for part in parts], dtype=np.int64),
    )


class Coder(Protocol):
    """What encodes; safe to use from several threads."""

    batch_bytes: int  # of text that it should be given at once

    def encode(self, texts: list[str]) -> Encoded: ...


class Encoder:
    """Text to token ids and back, by a tokenizer.json."""

    batch_bytes = 1 << 20

    def __init__(self, tokenizer_json: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_json))
        except Exception as error:  # tokenizers raises bare Exception
            raise ArtifactError(
                f"{tokenizer_json}: not a tokenizer.json ({error}); run the tokenizer stage again"
            ) from None
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def unlike(self) -> str | None:
        """What in the pre-tokenizer engines may understand in another way, if anything."""
        splitter = self._tokenizer.pre_tokenizer
        state = splitter.__getstate__().decode() if splitter else ""
        if found := _UNLIKE.search(state):
            return f"its pattern has {found[0][1:]}"
        others = set(re.findall(r'"type":"(\w+)"', state)) - _ALIKE
        return f"it splits text by {', '.join(sorted(others))}" if others else None

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, int32."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def encode(self, texts: list[str]) -> Encoded:
        return _joined(self.encode_batch(texts), np.dtype(np.int32))

    def decode(self, ids: np.ndarray) -> str:
        """The text that ``ids`` stand for, special tokens included."""
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=False))


class EngineError(Exception):
    """The engine cannot be used, or gave other ids than the reference, which then encodes: no user ever sees this."""


class Engine:
    """fastokens. Its threads are set by RAYON_NUM_THREADS, which it reads when it is first used.

    Compared on every character of Unicode, in many patterns, the two differ in what is of ``\\w`` and its like, so a
    tokenizer whose pattern has these is refused, and in whether the Mongolian vowel separator is a space, so texts that
    have it go to ``reference``. Raises EngineError for a tokenizer that it cannot be used with.
    """

    batch_bytes = 1 << 21

    def __init__(self, tokenizer_json: Path, reference: Encoder) -> None:
        self._reference = reference
        if problem := reference.unlike():
            raise EngineError(problem)
        try:
            self._tokenizer = fastokens.Tokenizer.from_file(str(tokenizer_json))
        except (ValueError, OSError) as error:
            raise EngineError(str(error)) from None
        self._tokenizer.no_truncation()

    def encode(self, texts: list[str]) -> Encoded:
        odd = {place: text for place, text in enumerate(texts) if _VOWEL_SEPARATOR in text}
        if not odd:
            return self._encode(texts)
        encoded = self._encode(["" if place in odd else text for place, text in enumerate(texts)])
        parts = np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])
        for place, ids in zip(odd, self._reference.encode_batch(list(odd.values())), strict=True):
            parts[place] = ids.astype(encoded.ids.dtype)
        return _joined(parts, encoded.ids.dtype)

    def _encode(self, texts: list[str]) -> Encoded:
        try:
            ids, ends = self._tokenizer.encode_batch_flat(texts, split_special_tokens=True)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic in Rust arrives as a BaseException of a class that cannot be imported
            raise EngineError(f"{type(error).__name__}: {error}") from error
        return Encoded(ids=np.frombuffer(ids, "<u4"), lengths=np.diff(np.frombuffer(ends, "<u8").astype(np.int64)))


def fast(tokenizer_json: Path, reference: Encoder) -> Engine | None:
    """The engine, where it can read this tokenizer."""
    try:
        return Engine(tokenizer_json, reference)
    except EngineError as problem:
        logger.info("%s: fastokens is not used (%s); tokenizers is, which is slower", tokenizer_json, problem)
        return None
