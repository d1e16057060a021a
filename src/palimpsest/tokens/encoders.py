"""Text to token ids: the reference encoder, and a fast one with the same results.

``ReferenceEncoder`` is Hugging Face ``tokenizers``, which defines the correct ids. ``FastEncoder`` is fastokens, which
is many times as fast but young, so ``palimpsest.tokens.shard_encoder`` compares the two as it encodes.

Neither adds begin- or end-of-text tokens or truncates anything; text that looks like a special token is encoded as
plain text. Memory per byte of a batch: fastokens 5 to 50 bytes (the most if a document is one endless word), plus a
cache of words that stops growing at about 300 MB; tokenizers up to 150 bytes.
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
_AMBIGUOUS = re.compile(r"\\\\[wWbBhHRX]|\[\[:\w+:")  # in JSON, where a backslash is two
_UNAMBIGUOUS = {"Sequence", "Split", "ByteLevel", "Digits"}


class EncodedBatch(NamedTuple):
    """The concatenated ids of several texts (1-D), and the number of ids of each (int64)."""

    ids: np.ndarray
    lengths: np.ndarray


def _concatenated(parts: list[np.ndarray], dtype: np.dtype[Any]) -> EncodedBatch:
    return EncodedBatch(
        ids=np.concatenate([np.empty(0, dtype=dtype), *parts]),
        lengths=np.array([len(part) for part in parts], dtype=np.int64),
    )


class Encoder(Protocol):
    """Encodes texts; several threads may share one."""

    batch_bytes: int  # of text in one call, for the best speed

    def encode(self, texts: list[str]) -> EncodedBatch: ...


class ReferenceEncoder:
    """Text to token ids and back, with a tokenizer.json. Raises ArtifactError for a file that is not one."""

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

    def ambiguity(self) -> str | None:
        """The part of the pre-tokenizer that libraries interpret differently, or None."""
        splitter = self._tokenizer.pre_tokenizer
        state = splitter.__getstate__().decode() if splitter else ""
        if found := _AMBIGUOUS.search(state):
            return f"its pattern has {found[0][1:]}"
        others = set(re.findall(r'"type":"(\w+)"', state)) - _UNAMBIGUOUS
        return f"it splits text by {', '.join(sorted(others))}" if others else None

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, int32."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def encode(self, texts: list[str]) -> EncodedBatch:
        return _concatenated(self.encode_batch(texts), np.dtype(np.int32))

    def decode(self, ids: np.ndarray) -> str:
        """The text of ``ids``, special tokens included."""
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=False))


class FastEncoderError(Exception):
    """The fast encoder is unusable or differs from the reference, which then takes over; never reaches the user."""


class FastEncoder:
    """fastokens. RAYON_NUM_THREADS sets its number of threads and is read at the first use.

    Compared on every Unicode character, in many patterns, the two libraries differ in two ways. They disagree about
    ``\\w`` and similar classes, so a tokenizer whose pattern has these is refused. They disagree whether the Mongolian
    vowel separator is a space, so texts that contain it go to ``reference``. Raises FastEncoderError if it cannot be
    used with the tokenizer.
    """

    batch_bytes = 1 << 21

    def __init__(self, tokenizer_json: Path, reference: ReferenceEncoder) -> None:
        self._reference = reference
        if problem := reference.ambiguity():
            raise FastEncoderError(problem)
        try:
            self._tokenizer = fastokens.Tokenizer.from_file(str(tokenizer_json))
        except (ValueError, OSError) as error:
            raise FastEncoderError(str(error)) from None
        self._tokenizer.no_truncation()

    def encode(self, texts: list[str]) -> EncodedBatch:
        disputed = {index: text for index, text in enumerate(texts) if _VOWEL_SEPARATOR in text}
        if not disputed:
            return self._encode(texts)
        encoded = self._encode(["" if index in disputed else text for index, text in enumerate(texts)])
        parts = np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])
        for index, ids in zip(disputed, self._reference.encode_batch(list(disputed.values())), strict=True):
            parts[index] = ids.astype(encoded.ids.dtype)
        return _concatenated(parts, encoded.ids.dtype)

    def _encode(self, texts: list[str]) -> EncodedBatch:
        try:
            ids, ends = self._tokenizer.encode_batch_flat(texts, split_special_tokens=True)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic in Rust arrives as a BaseException of a class that cannot be imported
            raise FastEncoderError(f"{type(error).__name__}: {error}") from error
        return EncodedBatch(ids=np.frombuffer(ids, "<u4"), lengths=np.diff(np.frombuffer(ends, "<u8").astype(np.int64)))


def fast_encoder(tokenizer_json: Path, reference: ReferenceEncoder) -> FastEncoder | None:
    """The fast encoder, or None if it cannot be used with this tokenizer; the log then says why."""
    try:
        return FastEncoder(tokenizer_json, reference)
    except FastEncoderError as problem:
        logger.info("%s: fastokens is not used (%s); tokenizers is, which is slower", tokenizer_json, problem)
        return None
