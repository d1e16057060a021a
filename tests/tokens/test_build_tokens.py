"""data/tokens/{language}: the shards are the documents encoded one by one, whatever interrupts the build."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zstandard
from support.corpus_folder import write_corpus
from support.data_specs import tokens_spec
from support.shard_reader import read_shard
from tokenizers import Tokenizer

from palimpsest.artifact import read_manifest
from palimpsest.codec import encode
from palimpsest.errors import DataError
from palimpsest.tokens.build_tokens import build_tokens
from palimpsest.tokens.corpus_reader import read_texts
from palimpsest.tokens.sequences import Documents, Sequences


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, corpora: dict[str, Path], trained: Path) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "ja"
    build_tokens(tokens_spec("ja"), corpora["ja"], trained, out)
    return out


def test_shards_are_the_documents(built: Path, corpora: dict[str, Path], trained: Path) -> None:
    peer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    peer.encode_special_tokens = True
    counts = read_manifest(built, "tokens").counts
    names = {f"{s}-given-{n:05}" for s, n in (("train", 0), ("train", 1), ("train", 2), ("validation", 0))}
    assert {path.stem for path in built.iterdir()} == names | {"manifest"}
    for split in ("train", "validation"):
        found = [document for name in sorted(names) if name.startswith(split) for document in read_shard(built / name)]
        originals = [text for path in sorted((corpora["ja"] / split).iterdir()) for text in read_texts(path)]
        assert found == [[*peer.encode(text).ids, 0] for text in originals]
        assert counts[split] == {
            "documents": len(originals),
            "tokens": sum(map(len, found)),
            "bytes": sum(len(text.encode()) for text in originals),
        }
    assert [d.tolist() for d in Documents(built, "validation")] == [document[:-1] for document in found]


def test_manifest(built: Path, corpora: dict[str, Path], trained: Path) -> None:
    manifest = read_manifest(built, "tokens")
    assert manifest.params == encode(tokens_spec("ja")) | {"dtype": "uint16", "end_of_text": 0, "vocab_size": 700}
    assert manifest.inputs == {
        "corpus": read_manifest(corpora["ja"], "corpus").digest,
        "tokenizer": read_manifest(trained, "tokenizer").digest,
    }
    sequences = Sequences(built, "train", 32)
    assert sequences.vocab_size == 700 and sequences.digest == manifest.digest
    tokens = [np.fromfile(path, "<u2") for path in sorted(built.glob("train-*.bin"))]
    assert len(sequences) == sum((len(shard) - 1) // 32 for shard in tokens)


def test_two_workers_write_the_same_over_older_files(
    built: Path, corpora: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    for name in ("train-00099.bin", "train-00099.idx", "train-given-00000.bin.tmp", "train-given-00000.bin"):
        (tmp_path / name).write_bytes(b"left by an earlier run")
    build_tokens(tokens_spec("ja"), corpora["ja"], trained, tmp_path, workers=2)
    assert content(tmp_path) == content(built)


def test_large_vocabularies_take_four_bytes_per_token(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch is the vocabulary's size, at 65,535 entries."""
    corpus = write_corpus(tmp_path / "en", train=[["a b c"]], validation=[["d"]])
    real = read_manifest(trained, "tokenizer")
    for size, dtype, width in ((65_535, "uint16", 2), (65_536, "int32", 4)):
        real.counts["vocab_size"] = size
        monkeypatch.setattr(
            "palimpsest.tokens.build_tokens.read_manifest",
            lambda f, s: real if s == "tokenizer" else read_manifest(f, s),
        )
        build_tokens(tokens_spec("en"), corpus, trained, tmp_path / "out")
        assert read_manifest(tmp_path / "out", "tokens").params["dtype"] == dtype
        documents = read_shard(tmp_path / "out" / "train-given-00000")
        assert (tmp_path / "out" / "train-given-00000.bin").stat().st_size == width * len(documents[0])


def test_an_empty_split_has_an_empty_shard(tmp_path: Path, trained: Path) -> None:
    corpus = write_corpus(tmp_path / "en", train=[["some text"], []], validation=[[]])
    build_tokens(tokens_spec("en"), corpus, trained, tmp_path / "out")
    assert read_manifest(tmp_path / "out", "tokens").counts["validation"] == {"documents": 0, "tokens": 0, "bytes": 0}
    assert list(Documents(tmp_path / "out", "validation")) == []


def test_missing_documents_are_an_error(tmp_path: Path, trained: Path) -> None:
    """Different content of the same size, or bytes that the manifest does not count, raise an error."""
    corpus = write_corpus(tmp_path / "en", train=[["one", "two"]], validation=[["three"]])
    manifest = corpus / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"documents": 2', '"documents": 3'))
    with pytest.raises(DataError, match="2 documents of train read, expected 3"):
        build_tokens(tokens_spec("en"), corpus, trained, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "1", "text": "fine"}\n{"id": "2", "text": "cu', "line 2: not a document"),
        (b'{"id": "1"}\n', "line 1: not a document with a text .*text"),
        (b'{"text": 5}\n', "line 1: .*text is int"),
        (b"[1]\n", "line 1: not a document"),
        (b'{"text": "\xff"}\n', "line 1: not a document"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "00000.jsonl.zst"
    path.write_bytes(zstandard.compress(content))
    with pytest.raises(DataError, match=message):
        list(read_texts(path))


def test_lines_across_frames_and_chunks(tmp_path: Path) -> None:
    path = tmp_path / "00000.jsonl.zst"
    long = "é" * 2_000_000
    path.write_bytes(b"".join(zstandard.compress(f'{{"text": "{text}"}}\n'.encode()) for text in ("a", long, "b")))
    assert list(read_texts(path)) == ["a", long, "b"]
    path.write_bytes(b"not zstd at all")
    with pytest.raises(DataError, match="after line 0: not valid zstd"):
        list(read_texts(path))


def test_a_tokenizer_that_loses_text_is_caught(tmp_path: Path, trained: Path) -> None:
    """token_bytes.npy of another tokenizer: the sums are wrong, so the build raises instead of writing shards."""
    corpus = write_corpus(tmp_path / "en", train=[["fine", "the miller's daughter"]], validation=[["v"]])
    copy = tmp_path / "tokenizer"
    copy.mkdir()
    for path in trained.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    sizes = np.load(copy / "token_bytes.npy")
    np.save(copy / "token_bytes.npy", np.roll(sizes, 1))
    with pytest.raises(DataError, match="document 0 changes when it is encoded and decoded"):
        build_tokens(tokens_spec("en"), corpus, copy, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(("train", "manifest"))]


@pytest.mark.slow
def test_real_text_survives_encoding(tmp_path: Path, trained: Path) -> None:
    """A megabyte of real text per language: every document decodes to itself from the shard."""
    root = os.environ.get("PALIMPSEST_TEXT")
    if not root:
        pytest.skip("PALIMPSEST_TEXT names no folder of real text")
    peer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    for path in sorted(Path(root).glob("train/train.*.jsonl.zst")):
        documents, size = [], 0
        for text in read_texts(path):
            documents.append(text)
            size += len(text.encode())
            if size > 10**6:
                break
        corpus = write_corpus(tmp_path / path.name, train=[documents], validation=[[]])
        build_tokens(tokens_spec(path.name), corpus, trained, tmp_path / "out")
        read = read_shard(tmp_path / "out" / "train-given-00000")
        assert [peer.decode(ids[:-1], skip_special_tokens=False) for ids in read] == documents
