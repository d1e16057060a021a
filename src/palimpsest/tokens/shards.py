"""One corpus shard becomes one token shard, by the fast engine as long as it agrees with the reference.

Every document is checked: the bytes that its tokens stand for must be as many as its text has. A sample is encoded by
``tokenizers`` too: of the first 8 documents of a shard and then of every 128th the first 8,192 characters, less than
one per cent of a large shard. At the first difference the shard is encoded again, and every later one, by
``tokenizers``: which of the two wrote a shard does not show in its bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palimpsest.artifact import Manifest
from palimpsest.errors import DataError
from palimpsest.tokens.encode import Coder, Encoded, Encoder, Engine, EngineError, fast
from palimpsest.tokens.lines import batches, texts
from palimpsest.tokens.megatron import Shard, ShardWriter

logger = logging.getLogger(__name__)

_FIRST, _EVERY, _CHARACTERS = 8, 128, 8_192
_TOKENS = 1 << 22


SPLITS = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A corpus shard of one source, and the ``name`` of the token shard that is made from it."""

    split: str
    source: str
    path: Path
    name: str


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a shard holds; tokens include end-of-text, bytes are those of the text."""

    documents: int
    tokens: int
    bytes: int


def total(counts: Iterable[Counts]) -> dict[str, int]:
    """The counts of several shards together, for the manifest."""
    found = list(counts)
    return {name: sum(getattr(part, name) for part in found) for name in ("documents", "tokens", "bytes")}


class ShardEncoder:
    """Writes shards with a tokenizer; several threads may share one.

    ``dtype`` is what holds the ids, ``sizes`` the bytes of text of each id, ``end_of_text`` the id after a document.
    """

    def __init__(self, tokenizer: Manifest) -> None:
        self._file = tokenizer.folder / "tokenizer.json"
        self._reference = Encoder(self._file)
        self._engine: Engine | None = fast(self._file, self._reference)
        self.sizes = np.load(tokenizer.folder / "token_bytes.npy", allow_pickle=False)
        self.vocab_size, self.end_of_text = tokenizer.counts["vocab_size"], tokenizer.counts["end_of_text"]
        self.dtype = "uint16" if self.vocab_size <= 65_535 else "int32"

    def holds(self, prefix: Path) -> Counts:
        """What a finished shard holds."""
        shard = Shard(prefix)
        pieces = range(0, shard.token_count, _TOKENS)
        size = sum(int(self.sizes[shard.tokens[at : at + _TOKENS]].sum(dtype=np.int64)) for at in pieces)
        return Counts(documents=shard.documents, tokens=shard.token_count, bytes=size)

    def write(self, source: Path, prefix: Path) -> Counts:
        """Write one token shard. Raises DataError when a document's tokens do not stand for its text."""
        if (engine := self._engine) is not None:
            try:
                return self._write(source, prefix, engine)
            except EngineError as problem:
                self._engine = None
                logger.warning(
                    "%s: fastokens is not to be trusted (%s); tokenizers encodes this shard again, and those after it",
                    source,
                    problem,
                )
        return self._write(source, prefix, self._reference)

    def _write(self, source: Path, prefix: Path, coder: Coder) -> Counts:
        documents = size = 0
        with ShardWriter(prefix, self.dtype) as writer:
            for batch, sizes in batches(texts(source), coder.batch_bytes):
                encoded = coder.encode(batch)
                self._check(source, documents, batch, sizes, encoded, coder)
                writer.extend(self._closed(encoded), encoded.lengths + 1)
                documents += len(batch)
                size += sum(sizes)
            tokens = writer.tokens
        return Counts(documents=documents, tokens=tokens, bytes=size)

    def _check(
        self, source: Path, first: int, batch: list[str], sizes: list[int], encoded: Encoded, coder: Coder
    ) -> None:
        """Raise EngineError for what the engine did, DataError for what the tokenizer itself does."""
        wrong = self._lost(sizes, encoded)
        if coder is not self._reference:
            if wrong is not None:
                raise EngineError(f"the tokens of document {first + wrong} have more or fewer bytes than its text")
            self._compare(first, batch, encoded, coder)
        if wrong is None and first < _FIRST:
            wrong = self._changed(batch[: _FIRST - first], encoded)
        if wrong is not None:
            raise DataError(
                f"{source}: document {first + wrong} does not come back from its tokens as it was, so "
                f"{self._file} is not lossless; set another tokenizer.path"
            )

    def _lost(self, sizes: list[int], encoded: Encoded) -> int | None:
        """The first document whose tokens stand for another number of bytes than its text has."""
        if len(encoded.lengths) != len(sizes) or encoded.ids.max(initial=0) >= len(self.sizes):
            return 0
        found = np.zeros(len(sizes), dtype=np.int64)
        some = encoded.lengths > 0  # reduceat has no empty ranges
        if some.any():
            starts = (np.cumsum(encoded.lengths) - encoded.lengths)[some]
            found[some] = np.add.reduceat(self.sizes[encoded.ids], starts)
        wrong = np.flatnonzero(found != sizes)
        return int(wrong[0]) if wrong.size else None

    def _compare(self, first: int, batch: list[str], encoded: Encoded, coder: Coder) -> None:
        ends = np.cumsum(encoded.lengths)
        for place, text in enumerate(batch):
            number = first + place
            if number >= _FIRST and number % _EVERY:
                continue
            ids = encoded.ids[ends[place] - encoded.lengths[place] : ends[place]]
            if len(text) > _CHARACTERS:
                text = text[:_CHARACTERS]
                ids = coder.encode([text]).ids
            if not np.array_equal(ids, self._reference.encode([text]).ids):
                raise EngineError(f"other ids than those of tokenizers for document {number}")

    def _changed(self, batch: list[str], encoded: Encoded) -> int | None:
        """The first document that its tokens do not give back."""
        end = 0
        for place, text in enumerate(batch):
            begin, end = end, end + int(encoded.lengths[place])
            if self._reference.decode(encoded.ids[begin:end]) != text:
                return place
        return None

    def _closed(self, encoded: Encoded) -> np.ndarray:
        """The tokens with end-of-text after each document."""
        ends = np.cumsum(encoded.lengths + 1) - 1
        closed = np.empty(len(encoded.ids) + len(ends), dtype=encoded.ids.dtype)
        inner = np.ones(len(closed), dtype=bool)
        inner[ends] = False
        closed[inner] = encoded.ids
        closed[ends] = self.end_of_text
        return closed
