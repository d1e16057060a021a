"""Encodes a corpus shard into a token shard, with the fast encoder as long as it agrees with the reference.

Every document is checked: its tokens must represent as many bytes as its text has. A sample is also encoded by the
reference: the first 8,192 characters of the first 8 documents of a shard and of every 128th after them, less than one
per cent of a large shard. At the first difference, the reference encodes this shard again and all later ones. The bytes
of a shard do not depend on which of the two wrote it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palimpsest.artifact import Manifest
from palimpsest.errors import DataError
from palimpsest.tokens.corpus_reader import batch_texts, read_texts
from palimpsest.tokens.encoders import (
    EncodedBatch,
    Encoder,
    FastEncoder,
    FastEncoderError,
    ReferenceEncoder,
    fast_encoder,
)
from palimpsest.tokens.megatron import Shard, ShardWriter

logger = logging.getLogger(__name__)

# The documents that both encoders encode: the first ones, and every n-th, each up to a number of characters.
_COMPARED_FIRST, _COMPARED_EVERY, _COMPARED_CHARACTERS = 8, 128, 8_192
_CHUNK_TOKENS = 1 << 22

SPLITS = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class CorpusShard:
    """A corpus shard of one source, and the ``name`` of the token shard that it becomes."""

    split: str
    source: str
    path: Path
    name: str


@dataclass(frozen=True, kw_only=True)
class ShardCounts:
    """The size of a shard; tokens include end-of-text, bytes are those of the text."""

    documents: int
    tokens: int
    bytes: int


def sum_counts(counts: Iterable[ShardCounts]) -> ShardCounts:
    """The sums of the counts of several shards."""
    shards = list(counts)
    return ShardCounts(
        documents=sum(shard.documents for shard in shards),
        tokens=sum(shard.tokens for shard in shards),
        bytes=sum(shard.bytes for shard in shards),
    )


class ShardEncoder:
    """Writes token shards with a tokenizer; several threads may share one.

    ``dtype`` is the type of the ids in a shard, ``token_bytes`` the bytes of text per id, ``end_of_text`` the id that
    follows every document.
    """

    def __init__(self, tokenizer: Manifest) -> None:
        self._file = tokenizer.folder / "tokenizer.json"
        self._reference = ReferenceEncoder(self._file)
        self._fast: FastEncoder | None = fast_encoder(self._file, self._reference)
        self.token_bytes = np.load(tokenizer.folder / "token_bytes.npy", allow_pickle=False)
        self.vocab_size, self.end_of_text = tokenizer.counts["vocab_size"], tokenizer.counts["end_of_text"]
        self.dtype = "uint16" if self.vocab_size <= 65_535 else "int32"

    def count(self, prefix: Path) -> ShardCounts:
        """The counts of a finished shard."""
        shard = Shard(prefix)
        pieces = range(0, shard.token_count, _CHUNK_TOKENS)
        size = sum(int(self.token_bytes[shard.tokens[at : at + _CHUNK_TOKENS]].sum(dtype=np.int64)) for at in pieces)
        return ShardCounts(documents=shard.documents, tokens=shard.token_count, bytes=size)

    def write(self, source: Path, prefix: Path) -> ShardCounts:
        """Write one token shard. Raises DataError if the tokens of a document do not represent its text."""
        if (fast := self._fast) is not None:
            try:
                return self._write(source, prefix, fast)
            except FastEncoderError as problem:
                self._fast = None
                logger.warning(
                    "%s: fastokens is wrong here (%s); tokenizers encodes this shard again, and those after it",
                    source,
                    problem,
                )
        return self._write(source, prefix, self._reference)

    def _write(self, source: Path, prefix: Path, encoder: Encoder) -> ShardCounts:
        documents = size = 0
        with ShardWriter(prefix, self.dtype) as writer:
            for batch, sizes in batch_texts(read_texts(source), encoder.batch_bytes):
                encoded = encoder.encode(batch)
                self._check(source, documents, batch, sizes, encoded, encoder)
                writer.extend(self._with_end_of_text(encoded), encoded.lengths + 1)
                documents += len(batch)
                size += sum(sizes)
            tokens = writer.tokens
        return ShardCounts(documents=documents, tokens=tokens, bytes=size)

    def _check(
        self, source: Path, first: int, batch: list[str], sizes: list[int], encoded: EncodedBatch, encoder: Encoder
    ) -> None:
        """Raises FastEncoderError for an error of the fast encoder, DataError for one of the tokenizer itself."""
        wrong = self._first_wrong_size(sizes, encoded)
        if encoder is not self._reference:
            if wrong is not None:
                raise FastEncoderError(f"the tokens of document {first + wrong} have more or fewer bytes than its text")
            self._compare(first, batch, encoded, encoder)
        if wrong is None and first < _COMPARED_FIRST:
            wrong = self._first_not_lossless(batch[: _COMPARED_FIRST - first], encoded)
        if wrong is not None:
            raise DataError(
                f"{source}: document {first + wrong} changes when it is encoded and decoded, so "
                f"{self._file} is not lossless; set another tokenizer.path"
            )

    def _first_wrong_size(self, sizes: list[int], encoded: EncodedBatch) -> int | None:
        """The index of the first document whose tokens represent more or fewer bytes than its text has, or None."""
        if len(encoded.lengths) != len(sizes) or encoded.ids.max(initial=0) >= len(self.token_bytes):
            return 0
        found = np.zeros(len(sizes), dtype=np.int64)
        some = encoded.lengths > 0  # reduceat has no empty ranges
        if some.any():
            starts = (np.cumsum(encoded.lengths) - encoded.lengths)[some]
            found[some] = np.add.reduceat(self.token_bytes[encoded.ids], starts)
        wrong = np.flatnonzero(found != sizes)
        return int(wrong[0]) if wrong.size else None

    def _compare(self, first: int, batch: list[str], encoded: EncodedBatch, encoder: Encoder) -> None:
        """Encode a sample of the batch with the reference too. ``first``: number of its first document in the shard."""
        ends = np.cumsum(encoded.lengths)
        for index, text in enumerate(batch):
            number = first + index
            if number >= _COMPARED_FIRST and number % _COMPARED_EVERY:
                continue
            ids = encoded.ids[ends[index] - encoded.lengths[index] : ends[index]]
            if len(text) > _COMPARED_CHARACTERS:
                text = text[:_COMPARED_CHARACTERS]
                ids = encoder.encode([text]).ids
            if not np.array_equal(ids, self._reference.encode([text]).ids):
                raise FastEncoderError(f"its ids of document {number} differ from those of tokenizers")

    def _first_not_lossless(self, batch: list[str], encoded: EncodedBatch) -> int | None:
        """The index of the first document that decoding does not restore, or None."""
        end = 0
        for index, text in enumerate(batch):
            begin, end = end, end + int(encoded.lengths[index])
            if self._reference.decode(encoded.ids[begin:end]) != text:
                return index
        return None

    def _with_end_of_text(self, encoded: EncodedBatch) -> np.ndarray:
        """The tokens with end-of-text after each document."""
        ends = np.cumsum(encoded.lengths + 1) - 1
        result = np.empty(len(encoded.ids) + len(ends), dtype=encoded.ids.dtype)
        inner = np.ones(len(result), dtype=bool)
        inner[ends] = False
        result[inner] = encoded.ids
        result[ends] = self.end_of_text
        return result
