"""A wrong fast encoder is reported, and the shard has the bytes that the reference writes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.corpus_folder import write_corpus
from support.data_specs import tokens_spec

from palimpsest.artifact import read_manifest
from palimpsest.tokens import encoders, shard_encoder
from palimpsest.tokens.build_tokens import build_tokens
from palimpsest.tokens.encoders import EncodedBatch, FastEncoder, ReferenceEncoder
from palimpsest.tokens.shard_encoder import ShardEncoder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two shards of distinct documents; document 256 of the second is long and in the compared sample."""
    train = [[f"first shard, document {i}" for i in range(40)], [f"another {i}" for i in range(300)]]
    train[1][256] = "A long document. " * 1000
    return write_corpus(tmp_path / "corpus" / "en", train=train, validation=[["held out", ""]])


@pytest.fixture
def right(tmp_path: Path, corpus: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files that the reference writes."""
    with monkeypatch.context() as patch:
        patch.setattr(shard_encoder, "fast_encoder", lambda *_: None)
        build_tokens(tokens_spec("en"), corpus, trained, tmp_path / "right")
    return content(tmp_path / "right")


def other_ids(encoded: EncodedBatch) -> EncodedBatch:
    """The first document has the same number of tokens and bytes in another order: only the comparison detects it."""
    ids = encoded.ids.copy()
    ids[:2] = ids[1], ids[0]
    return EncodedBatch(ids=ids, lengths=encoded.lengths)


def lost_token(encoded: EncodedBatch) -> EncodedBatch:
    lengths = encoded.lengths.copy()
    lengths[-1] -= 1
    return EncodedBatch(ids=encoded.ids[:-1], lengths=lengths)


def beyond_vocabulary(encoded: EncodedBatch) -> EncodedBatch:
    return EncodedBatch(ids=encoded.ids + np.uint32(70_000), lengths=encoded.lengths)


def lie(monkeypatch: pytest.MonkeyPatch, text: str, change: Callable[[EncodedBatch], EncodedBatch]) -> list[str]:
    """Make the fast encoder wrong for batches that begin with ``text``; returns the first texts of its batches."""
    first_texts: list[str] = []
    honest = FastEncoder.encode

    def encode(self: FastEncoder, texts: list[str]) -> EncodedBatch:
        first_texts.append(texts[0])
        encoded = honest(self, texts)
        return change(encoded) if texts[0].startswith(text) else encoded

    monkeypatch.setattr(FastEncoder, "encode", encode)
    return first_texts


def test_the_fast_encoder_writes_what_the_reference_writes(
    tmp_path: Path, corpus: Path, trained: Path, right: dict[str, bytes]
) -> None:
    build_tokens(tokens_spec("en"), corpus, trained, tmp_path / "out")
    assert content(tmp_path / "out") == right


@pytest.mark.parametrize(
    ("text", "change", "shard", "reason"),
    [
        ("first shard", other_ids, "given-00000", "its ids of document 0 differ from those of tokenizers"),
        ("first shard", lost_token, "given-00000", "the tokens of document 39 have more or fewer bytes"),
        ("first shard", beyond_vocabulary, "given-00000", "the tokens of document 0 have more or fewer"),
        # Encoded a second time, cut: the ids of the whole text are in a batch that does not begin with it.
        ("A long document", other_ids, "given-00001", "its ids of document 256 differ from those of tokenizers"),
    ],
)
def test_a_wrong_shard_is_encoded_again(
    tmp_path: Path,
    corpus: Path,
    trained: Path,
    right: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    change: Callable[[EncodedBatch], EncodedBatch],
    shard: str,
    reason: str,
) -> None:
    lie(monkeypatch, text, change)
    with caplog.at_level(logging.WARNING):
        build_tokens(tokens_spec("en"), corpus, trained, tmp_path / "out")
    assert content(tmp_path / "out") == right
    (record,) = caplog.records
    assert f"train/{shard}.jsonl.zst" in record.getMessage() and reason in record.getMessage()


def test_a_wrong_fast_encoder_is_not_used_again(
    tmp_path: Path, corpus: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_texts = lie(monkeypatch, "", lost_token)
    build_tokens(tokens_spec("en"), corpus, trained, tmp_path / "out")
    assert len(first_texts) == 1


class PanicException(BaseException):
    """What a panic in Rust looks like."""


@pytest.mark.parametrize("error", [PanicException("index out of bounds"), ValueError("match limit exceeded")])
def test_a_panic_is_caught(
    tmp_path: Path,
    corpus: Path,
    trained: Path,
    right: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    class Broken:
        def encode_batch_flat(self, *_: object, **__: object) -> None:
            raise error

        def no_truncation(self) -> None: ...

    class Library:
        class Tokenizer:
            from_file = staticmethod(lambda _: Broken())

    monkeypatch.setattr(encoders, "fastokens", Library)
    build_tokens(tokens_spec("en"), corpus, trained, tmp_path / "out")
    assert content(tmp_path / "out") == right
    assert str(error) in caplog.text and "tokenizers encodes this shard again" in caplog.text


def test_running_out_of_memory_is_not_caught(trained: Path) -> None:
    engine = FastEncoder(trained / "tokenizer.json", ReferenceEncoder(trained / "tokenizer.json"))

    class Full:
        def encode_batch_flat(self, *_: object, **__: object) -> None:
            raise MemoryError

    engine._tokenizer = Full()
    with pytest.raises(MemoryError):
        engine.encode(["a"])


def test_the_sample_that_both_encoders_encode(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first eight documents and every 128th after, the first 8,192 characters: under one per cent of a shard."""
    documents = [f"{i} " + "word " * (i % 3000) for i in range(2000)]
    corpus = write_corpus(tmp_path / "en", train=[documents], validation=[[]])
    seen: list[str] = []
    honest = ReferenceEncoder.encode

    def encode(self: ReferenceEncoder, texts: list[str]) -> EncodedBatch:
        seen.extend(texts)
        return honest(self, texts)

    monkeypatch.setattr(ReferenceEncoder, "encode", encode)
    encoder = ShardEncoder(read_manifest(trained, "tokenizer"))
    encoder.write(corpus / "train" / "given-00000.jsonl.zst", tmp_path / "s")
    assert [int(text.split()[0]) for text in seen] == [*range(8), *range(128, 2000, 128)]
    assert max(map(len, seen)) == 8192 and sum(map(len, seen)) < sum(map(len, documents)) / 100
