"""A small checkpoint that reads and writes real text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from palimpsest.artifact import file_digest, write_manifest
from palimpsest.evaluate import catalogue
from palimpsest.raw.sample import cloze_questions, sample_documents
from palimpsest.train import init_model

SHAPE = {"layers": 2, "width": 32, "heads": 2, "ffn": 64, "tie_embeddings": False}
CONTEXT = 256


def _tokenizer(folder: Path) -> Path:
    """A data/tokenizer with a byte-level BPE of 600 entries in the sample corpus's languages."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [document.text for code in ("en", "fr", "ar", "ja") for document in sample_documents(code, 20, 0)]
    bpe.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True)
    bpe.save(str(folder / "tokenizer.json"))
    sizes = [len(bpe.decode([entry]).encode()) for entry in range(bpe.get_vocab_size())]
    np.save(folder / "token_bytes.npy", np.array(sizes, dtype=np.int32))
    write_manifest(
        folder,
        stage="tokenizer",
        params={},
        inputs={},
        files=[folder / "tokenizer.json", folder / "token_bytes.npy"],
        counts={"vocab_size": bpe.get_vocab_size(), "end_of_text": 0, "fertility": {}},
    )
    return folder


@pytest.fixture(scope="session")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _tokenizer(tmp_path_factory.mktemp("byte-level") / "tokenizer")


@pytest.fixture(scope="session")
def checkpoint(byte_level: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs/{root}: random weights."""
    folder = tmp_path_factory.mktemp("runs") / "init"
    init_model.build({"model": SHAPE, "context_length": CONTEXT, "seed": 0}, byte_level, folder)
    return folder


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(zstandard.compress(text.encode()))


@pytest.fixture(scope="session")
def write_lines() -> Any:
    """Writes rows to a .jsonl.zst."""
    return _lines


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """data/raw/{language} of en and ja with the questions of a source called stories."""
    root = tmp_path_factory.mktemp("raw")
    for language in ("en", "ja"):
        file = root / language / "stories" / "cloze.jsonl.zst"
        _lines(file, list(cloze_questions(language, 60, 0)))
        write_manifest(root / language, stage="raw", params={}, inputs={}, files=[file], counts={})
    return {language: root / language for language in ("en", "ja")}


def _tasks_spec(names: list[str], data: Path, raw: dict[str, Path], **changes: Any) -> dict[str, Any]:
    folders = {language: folder / "stories" for language, folder in raw.items()}
    return {
        "tasks": catalogue.describe(names, str(data), "local", folders, file_digest),
        "samples": dict.fromkeys(raw, "stories"), "data_folder": str(data), "source": "local", "limit": None,
        "batch_size": 16, "threads": 1, "revision": 1, **changes,
    }  # fmt: skip


@pytest.fixture(scope="session")
def tasks_spec() -> Any:
    """The spec of the tasks stage from names, the folder of their data, data/raw by language, and other keys."""
    return _tasks_spec


@pytest.fixture(scope="session")
def piqa() -> list[dict[str, Any]]:
    return [{"goal": f"goal {n}", "sol1": f"do {n}", "sol2": "do nothing", "label": n % 2} for n in range(8)]


@pytest.fixture
def data(tmp_path: Path, piqa: list[dict[str, Any]]) -> Path:
    """A folder for evaluate.task_data."""
    _lines(tmp_path / "data" / "piqa.valid.jsonl.zst", piqa)
    return tmp_path / "data"
