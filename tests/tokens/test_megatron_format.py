"""The .bin/.idx files against a reader from the format's description, and against datatrove's writer."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.shard_reader import read_shard

from palimpsest.errors import ArtifactError
from palimpsest.tokens.megatron import Shard, ShardWriter

LARGEST = {"uint16": 2**16 - 1, "int32": 2**31 - 1}


def write(prefix: Path, dtype: str, documents: list[list[int]]) -> None:
    with ShardWriter(prefix, dtype) as writer:
        for document in documents:
            writer.add(np.array(document, dtype=np.int64))


@st.composite
def shards(draw: st.DrawFn) -> tuple[str, list[list[int]]]:
    dtype = draw(st.sampled_from(sorted(LARGEST)))
    return dtype, draw(st.lists(st.lists(st.integers(0, LARGEST[dtype]), max_size=20), max_size=20))


@given(shard=shards())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(shard: tuple[str, list[list[int]]]) -> None:
    dtype, documents = shard
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "part.00000"
        write(prefix, dtype, documents)
        assert read_shard(prefix) == documents
        read = Shard(prefix)
        assert [read.document(i).tolist() for i in range(read.documents)] == documents
        assert read.tokens.tolist() == [token for document in documents for token in document]
        assert read.lengths.tolist() == [len(document) for document in documents]
        sizes = [len(document) * np.dtype(dtype).itemsize for document in documents]
        assert read.offsets.tolist() == [sum(sizes[:i]) for i in range(len(sizes))]
        assert (read.dtype, read.token_count) == (np.dtype(dtype), sum(map(len, documents)))
        assert {path.name for path in Path(folder).iterdir()} == {"part.00000.bin", "part.00000.idx"}


@pytest.mark.parametrize(("dtype", "size"), [("uint16", 2), ("int32", 4)])
def test_same_bytes_as_datatrove(tmp_path: Path, dtype: str, size: int) -> None:
    megatron = pytest.importorskip("datatrove.pipeline.tokens.megatron_tokenizer")
    documents = [[5, 6, 0], [0], list(range(300)), [LARGEST[dtype], 0]]
    peer = megatron.MegatronTokenizedFile(str(tmp_path / "peer"), "shard", token_size=size)
    for document in documents:
        peer.write(document)
    peer.close()
    write(tmp_path / "ours" / "shard", dtype, documents)
    for suffix in ("bin", "idx"):
        name = f"shard.{suffix}"
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "peer" / name).read_bytes()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit uint16"), ShardWriter(tmp_path / "s", "uint16") as writer:
        writer.add(np.array([1, 2]))
        writer.add(np.array([65_536]))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="int64"):
        ShardWriter(tmp_path / "s", "int64")


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda _: b"", "0 bytes, a header has 34"),
        (lambda b: b"X" + b[1:], "begins with"),
        (lambda b: b[:9] + struct.pack("<Q", 2) + b[17:], "version 2, expected 1"),
        (lambda b: b[:17] + b"\x07" + b[18:], "token type 7"),
        (lambda b: b[:26] + struct.pack("<Q", 9) + b[34:], "9 bounds for 2 sequences"),
        (lambda b: b[:-1], "expected 82 for 2 documents"),
        (lambda b: b + b"\0", "expected 82 for 2 documents"),
        (lambda b: b[:38] + struct.pack("<i", 7) + b[42:], "10 bytes, expected 20"),
    ],
)
def test_a_corrupt_index_is_named(tmp_path: Path, corrupt: Callable[[bytes], bytes], message: str) -> None:
    write(tmp_path / "s", "uint16", [[1, 2, 3], [4, 5]])
    index = tmp_path / "s.idx"
    index.write_bytes(corrupt(index.read_bytes()))
    with pytest.raises(ArtifactError, match=message) as error:
        Shard(tmp_path / "s")
    assert str(tmp_path) in str(error.value) and "run the tokens stage again" in str(error.value)


def test_missing_and_truncated_files_are_named(tmp_path: Path) -> None:
    write(tmp_path / "s", "int32", [[1, 2, 3], [4, 5]])
    data = tmp_path / "s.bin"
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(ArtifactError, match=r"s\.bin: 16 bytes, expected 20"):
        Shard(tmp_path / "s")
    data.unlink()
    with pytest.raises(ArtifactError, match=r"s\.bin: no such file"):
        Shard(tmp_path / "s")


def test_a_document_out_of_range(tmp_path: Path) -> None:
    write(tmp_path / "s", "uint16", [[1], [2]])
    for index in (-1, 2):
        with pytest.raises(IndexError):
            Shard(tmp_path / "s").document(index)
    index_file = tmp_path / "s.idx"
    content = bytearray(index_file.read_bytes())
    content[34:38] = struct.pack("<i", 99)  # the first length: not seen when the shard is opened
    index_file.write_bytes(content)
    with pytest.raises(ArtifactError, match="document 0 is outside"):
        Shard(tmp_path / "s").document(0)
