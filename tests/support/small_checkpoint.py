"""A small checkpoint that reads and writes real text, and the data of zero-shot tasks for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from palimpsest.artifact import file_digest, write_manifest
from palimpsest.evaluate.task_registry import describe_tasks
from palimpsest.raw.sample import cloze_questions, sample_documents
from palimpsest.specs.evaluation import TasksSpec
from palimpsest.specs.training import InitSpec, RandomModel
from palimpsest.train.init_model import init_model

SHAPE = RandomModel(layers=2, width=32, heads=2, ffn=64, tie_embeddings=False)
CONTEXT = 256
PIQA: list[dict[str, Any]] = [
    {"goal": f"goal {n}", "sol1": f"do {n}", "sol2": "do nothing", "label": n % 2} for n in range(8)
]


def write_byte_level_tokenizer(folder: Path) -> Path:
    """A data/tokenizer with a byte-level BPE of 600 entries in the sample corpus's languages."""
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


def write_checkpoint(folder: Path, tokenizer: Path) -> Path:
    """A runs/{root} with random weights."""
    init_model(InitSpec(model=SHAPE, context_length=CONTEXT, seed=0, data_fingerprint=""), tokenizer, folder)
    return folder


def write_jsonl_zst(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_bytes(zstandard.compress(text.encode()))
    return path


def write_raw_questions(root: Path) -> dict[str, Path]:
    """data/raw/{language} of en and ja with the questions of a sample source called stories."""
    for language in ("en", "ja"):
        file = write_jsonl_zst(root / language / "stories" / "cloze.jsonl.zst", list(cloze_questions(language, 60, 0)))
        write_manifest(root / language, stage="raw", params={}, inputs={}, files=[file], counts={})
    return {language: root / language for language in ("en", "ja")}


def tasks_spec(names: list[str], data: Path, raw: Mapping[str, Path], limit: int | None = None) -> TasksSpec:
    """The spec of the tasks stage. ``data``: the folder of the tasks' data files; ``raw``: data/raw by language."""
    folders = {language: folder / "stories" for language, folder in raw.items()}
    return TasksSpec(
        tasks=tuple(describe_tasks(names, str(data), "local", folders, file_digest)),
        samples=dict.fromkeys(raw, "stories"),
        data_folder=str(data),
        source="local",
        limit=limit,
        batch_size=16,
        threads=1,
    )
