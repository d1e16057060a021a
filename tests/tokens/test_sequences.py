"""Sequences and documents against slices of the tokens themselves; big, many and empty shards."""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.artifact import MANIFEST, write_manifest
from palimpsest.errors import ArtifactError
from palimpsest.tokens.sequences import Documents, Sequences

END = 0
Folder = Callable[..., Path]


def index_bytes(lengths: list[int]) -> bytes:
    """A .idx of uint16 documents, written from the description of the format."""
    n = len(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:n] * 2
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, n, n + 1)
    return head + struct.pack(f"<{n}i{n}q{n + 1}q", *lengths, *starts.astype(int).tolist(), *range(n + 1))


def write_folder(folder: Path, shards: dict[str, list[list[int]]]) -> Path:
    folder.mkdir()
    for name, documents in shards.items():
        (folder / f"{name}.bin").write_bytes(np.array([t for d in documents for t in d], dtype="<u2").tobytes())
        (folder / f"{name}.idx").write_bytes(index_bytes([len(document) for document in documents]))
    return close_folder(folder)


def close_folder(folder: Path) -> Path:
    write_manifest(
        folder,
        stage="tokens",
        params={"dtype": "uint16", "end_of_text": END, "vocab_size": 500},
        inputs={},
        files=sorted(folder.iterdir()),
        counts={"train": {}, "validation": {}},
    )
    return folder


def shard(length: int, seed: int) -> list[list[int]]:
    return [np.random.default_rng(seed).integers(1, 500, length).tolist()] if length else []


def brute(folder: Path, context: int) -> list[list[int]]:
    """All sequences of the training split, sliced one by one."""
    rows = []
    for path in sorted(folder.glob("train-*.bin")):
        tokens = np.frombuffer(path.read_bytes(), "<u2").tolist()
        start = 0
        while start + context + 1 <= len(tokens):
            rows.append(tokens[start : start + context + 1])
            start += context
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of many lengths: empty, one token, just under, at and over a sequence of 16, and longer ones."""
    lengths = (300, 0, 16, 1, 17, 18, 0, 333, 33, 32, 5)
    return write_folder(
        tmp_path_factory.mktemp("tokens") / "en", {f"train-{i:05}": shard(n, i) for i, n in enumerate(lengths)}
    )


@given(data=st.data(), context=st.sampled_from([1, 2, 16, 31, 299, 400]))
@settings(max_examples=80, deadline=None)
def test_read_is_slicing(folder: Path, data: st.DataObject, context: int) -> None:
    expected = brute(folder, context)
    sequences = Sequences(folder, "train", context)
    assert len(sequences) == len(expected)
    if expected:
        indices = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=40))
        rows = sequences.read(np.array(indices, dtype=np.int64))
        assert rows.dtype == np.int64 and rows.shape == (len(indices), context + 1)
        assert rows.tolist() == [expected[i] for i in indices]


def test_every_sequence_once_in_order(folder: Path) -> None:
    sequences = Sequences(folder, "train", 16)
    assert sequences.read(np.arange(len(sequences))).tolist() == brute(folder, 16)
    assert sequences.vocab_size == 500 and len(sequences.digest) == 64


def test_indices_out_of_range_are_refused(folder: Path, tmp_path: Path) -> None:
    sequences = Sequences(folder, "train", 16)
    for wrong in ([-1], [0, len(sequences)]):
        with pytest.raises(IndexError, match=f"there are {len(sequences)}"):
            sequences.read(np.array(wrong))
    assert len(Sequences(folder, "validation", 16)) == 0
    with pytest.raises(IndexError):
        Sequences(folder, "validation", 16).read(np.array([0]))
    with pytest.raises(ArtifactError, match="no split 'test'; it has train, validation"):
        Sequences(folder, "test", 16)
    with pytest.raises(ArtifactError, match="run the stage"):
        Sequences(tmp_path, "train", 16)


def test_a_rewritten_folder_is_opened_again(tmp_path: Path) -> None:
    first = write_folder(tmp_path / "en", {"train-00000": shard(100, 1)})
    before = Sequences(first, "train", 10).read(np.array([3])).tolist()
    first.rename(tmp_path / "old")
    second = write_folder(tmp_path / "en", {"train-00000": shard(100, 2)})
    assert Sequences(second, "train", 10).read(np.array([3])).tolist() == [brute(second, 10)[3]] != before


def test_a_corrupt_index_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "en", {"train-00000": shard(100, 1)})
    (folder / "train-00000.idx").write_bytes(b"?" + index_bytes([100])[1:])
    with pytest.raises(ArtifactError, match=r"train-00000\.idx: begins with"):
        Sequences(folder, "train", 10)


def test_documents_without_end_of_text_are_an_error(tmp_path: Path) -> None:
    train = [[1, END], [END]]
    held_out = {"validation-00000": [[7, 8, END], [END]], "validation-00001": [], "validation-00002": [[9, END]]}
    folder = write_folder(tmp_path / "en", {"train-00000": train, **held_out})
    documents = Documents(folder, "validation")
    assert documents.end_of_text == END
    for _ in range(2):  # can be iterated again
        assert [document.tolist() for document in documents] == [[7, 8], [9], []]
    unfinished = write_folder(tmp_path / "fr", {"validation-00000": [[7, END], [8, 9]]})
    with pytest.raises(ArtifactError, match="document 1 does not end with token 0"):
        list(Documents(unfinished, "validation"))


@given(numbers=st.lists(st.integers(0, 9), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_documents_are_interleaved_in_proportion(numbers: list[int]) -> None:
    """Against sorting all documents by their relative position; every prefix has the share of each shard."""
    with tempfile.TemporaryDirectory() as root:
        shards = {f"validation-{chr(97 + s)}-00000": [[s + 1, k, END] for k in range(n)] for s, n in enumerate(numbers)}
        found = [document.tolist() for document in Documents(write_folder(Path(root) / "en", shards), "validation")]
    places = [(Fraction(2 * k + 1, 2 * n), s + 1, k) for s, n in enumerate(numbers) for k in range(n)]
    assert found == [[s, k] for _, s, k in sorted(places)]
    for count in range(len(found) + 1):
        for s, n in enumerate(numbers):
            share = Fraction(n * count, max(len(found), 1))
            assert abs(sum(document[0] == s + 1 for document in found[:count]) - share) < len(numbers)


def test_a_sparse_shard_of_200_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10^11 tokens: opened and read without touching more than the requested sequences."""
    monkeypatch.setattr("palimpsest.artifact.file_digest", lambda path: path.name)  # hashing 200 GB is not the point
    folder = tmp_path / "en"
    folder.mkdir()
    documents, length = 100, 10**9
    (folder / "train-00000.idx").write_bytes(index_bytes([length] * documents))
    context, number = 2048, (documents * length - 1) // 2048
    with (folder / "train-00000.bin").open("wb") as file:
        file.truncate(2 * documents * length)
        file.seek((number - 1) * context * 2)
        file.write(np.arange(1, context + 2, dtype="<u2").tobytes())
    sequences = Sequences(close_folder(folder), "train", context)
    assert len(sequences) == number
    rows = sequences.read(np.array([number - 1, 0, number // 2]))
    assert rows[0].tolist() == list(range(1, context + 2)) and not rows[1:].any()


def test_more_shards_than_file_descriptors_and_nothing_but_numpy(tmp_path: Path) -> None:
    shards = {f"{split}-{i:05}": [[i] * 9 + [END]] for split in ("train", "validation") for i in range(400)}
    folder = write_folder(tmp_path / "en", shards)
    program = f"""
        import resource, sys
        from pathlib import Path
        import numpy as np
        from palimpsest.tokens.sequences import Documents, Sequences
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        rows = Sequences(Path({str(folder)!r}), "train", 4).read(np.arange(800)[::-1])
        assert (rows == np.repeat(np.arange(400), 2)[::-1, None]).all()
        assert [document[0] for document in Documents(Path({str(folder)!r}), "validation")] == list(range(400))
        heavy = {{"torch", "tokenizers", "orjson", "zstandard", "pydantic", "transformers", "yaml"}}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (folder / MANIFEST).is_file()
