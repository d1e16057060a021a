"""A made-up project whose every stage up to evaluation is finished: two arms that share a past, and joint."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, Literal

import pytest

from palimpsest.artifact import atomic_file, write_json, write_manifest
from palimpsest.params import validate
from palimpsest.train.metrics import AlignmentRecord, MetricsRecord, StepRecord, ValidationRecord, encode_record

LANGUAGES = ["fr", "en", "ar"]  # the order of training, which is not the alphabet's

# Nats per token of fr, en and ar, by seed and checkpoint.
LOSSES: dict[str, list[float]] = {
    "nano-s0.00": [8.0, 8.2, 8.4],
    "nano-s0.00/fr.01": [3.0, 7.0, 7.5],
    "nano-s0.00/fr.01/en.02": [4.5, 3.2, 7.1],
    "nano-s0.00/fr.01/en.02/ar.03": [5.0, 4.2, 3.4],
    "nano-s0.00/fr.01/en+r25+mer.04": [3.5, 3.3, 7.2],
    "nano-s0.00/fr.01/en+r25+mer.04/ar+r25+mer.05": [3.6, 3.5, 3.7],
    "nano-s0.00/joint.06": [3.1, 3.2, 3.3],
    "nano-s1.10": [8.2, 8.0, 8.6],
    "nano-s1.10/fr.11": [3.4, 7.2, 7.7],
    "nano-s1.10/fr.11/en.12": [2.9, 3.0, 7.5],
    "nano-s1.10/fr.11/en.12/ar.13": [4.1, 4.4, 3.6],
    "nano-s1.10/fr.11/en+r25+mer.14": [3.3, 3.5, 7.4],
    "nano-s1.10/fr.11/en+r25+mer.14/ar+r25+mer.15": [3.4, 3.3, 3.9],
    "nano-s1.10/joint.16": [3.3, 3.2, 3.7],
}
_REPLAYED = ("nano-s0.00/fr.01/en+r25+mer.04", "nano-s1.10/fr.11/en+r25+mer.14")
ARMS = {
    "sequential": {"0": "nano-s0.00/fr.01/en.02/ar.03", "1": "nano-s1.10/fr.11/en.12/ar.13"},
    "mer": {"0": f"{_REPLAYED[0]}/ar+r25+mer.05", "1": f"{_REPLAYED[1]}/ar+r25+mer.15"},
    "joint": {"0": "nano-s0.00/joint.06", "1": "nano-s1.10/joint.16"},
}
PARAMS = validate(
    {
        "languages": LANGUAGES,
        "arms": ["sequential", "mer", "joint"],
        "evaluate": {"bootstrap": 200},
        "corpus": {
            "sources": {
                "fr": {"kind": "sample"},
                "en": [
                    {"name": "web", "kind": "local", "path": "web.jsonl"},
                    {"name": "wiki", "kind": "hf", "dataset": "some/wiki", "revision": "a" * 40},
                ],
                "ar": {"kind": "hf", "dataset": "some/text", "revision": "b" * 40},
            }
        },
    },
    "params.yaml",
)
REPLAY = {"rate": "0.25", "accounting": "add", "scope": "past", "capacity": None}
MER = {"interval": 20, "step_size": 0.5, "moments": "keep"}
SEQUENCES = {"new_sequences": 125, "replayed_sequences": 0}
LEDGERS = {
    "plain": {"steps": 10, "new_tokens": 1000, "replayed_tokens": 0, "total_tokens": 1000, "flops": 6000},
    "replayed": {"steps": 13, "new_tokens": 1000, "replayed_tokens": 300, "total_tokens": 1300, "flops": 7800},
    "joint": {"steps": 30, "new_tokens": 3000, "replayed_tokens": 0, "total_tokens": 3000, "flops": 18000},
}


SIZE = {"parameters": 77, "training_flops_per_token": 6}


def write_stage(
    folder: Path, stage: str, files: dict[str, Any], params: dict[str, Any], counts: dict[str, Any]
) -> None:
    """Write a finished folder: JSON ``files`` by name, and a manifest."""
    for name, value in files.items():
        write_json(folder / name, value)
    listed = [folder / name for name in files]
    write_manifest(folder, stage=stage, params=params, inputs={}, files=listed, counts=counts)


def write_run(root: Path, path: str) -> None:
    name = path.rpartition("/")[2]
    replays = "+r25" in name
    params: dict[str, Any] = {
        "seed": int(path[6]),
        "replay": REPLAY if replays else None,
        "mer": MER if replays else None,
    }
    if "/" not in path:
        return write_stage(root / "runs" / path, "run", {}, {"seed": int(path[6])}, SIZE)
    params["train"] = {"batch_size": 20, "context_length": 5}
    ledger = SEQUENCES | LEDGERS["joint" if name.startswith("joint") else "replayed" if replays else "plain"]
    steps = range(1, ledger["steps"] + 1)
    records: list[MetricsRecord] = [StepRecord(step=step, loss=5.0, learning_rate=0.1) for step in steps]
    for step, tokens in ((5, 500), (ledger["steps"], ledger["total_tokens"])):
        losses = {language: step / 8 + index for index, language in enumerate(LANGUAGES)}
        records.insert(step, ValidationRecord(step=step, tokens=tokens, validation=losses))
    if replays:
        records += [_alignment(4, "step"), _alignment(8, "step"), _alignment(10, "window")]
        records += [_alignment(10, "interpolated"), _alignment(13, "step")]
    with atomic_file(root / "runs" / path / "metrics.jsonl") as file:
        file.writelines(json.dumps(encode_record(record)).encode() + b"\n" for record in records)
    return write_stage(root / "runs" / path, "run", {}, params, SIZE | {"ledger": ledger, "skipped": 0})


def _alignment(step: int, at: Literal["step", "window", "interpolated"]) -> AlignmentRecord:
    norms = {"all": 1.0, "head": 1.0}
    cosines = {"all": step / 16, "head": -step / 16}
    return AlignmentRecord(step=step, at=at, alignment=cosines, norm_new=norms, norm_replayed=norms)


def write_evaluation(root: Path, path: str, mean_losses: list[float]) -> None:
    """40 documents of 10 or 30 tokens (4 bytes a token); half of them lie 0.5 above and half 0.5 below the mean."""
    tokens = [10, 10, 30, 30] * 10
    losses: dict[str, Any] = {}
    for language, mean in zip(LANGUAGES, mean_losses, strict=True):
        nats = [(mean + (0.5 if at % 2 else -0.5)) * number for at, number in enumerate(tokens)]
        losses[language] = {"nats": nats, "tokens": tokens, "bytes": [4 * number for number in tokens]}
    write_stage(
        root / "results" / "evaluation" / path, "evaluation", {"losses.json": losses}, {"languages": LANGUAGES}, {}
    )


def mean_of_two(one: float, other: float) -> Any:
    """A quantity over two seeds: the standard deviation of two numbers is their distance over √2."""
    return pytest.approx({"mean": (one + other) / 2, "sd": abs(one - other) / math.sqrt(2), "n": 2}, abs=1e-9)


def plot_rows(root: Path, name: str) -> list[dict[str, str]]:
    """The rows of a file of results/plots."""
    with (root / "results" / "plots" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_evaluated_project(root: Path) -> None:
    """Write data/, runs/ and results/evaluation/ of the project."""
    for path, losses in LOSSES.items():
        write_run(root, path)
        write_evaluation(root, path, losses)
    for number, language in enumerate(LANGUAGES):
        split = {"documents": 10 + number, "bytes": 100}
        names = [str(source.name) for source in PARAMS.corpus.sources[language]]
        corpus = {"documents_in": 30, "dropped": {"language": 9 - 2 * number}, "train": split, "validation": split}
        corpus |= {"masked": {"email": number}, "bad_files": []}
        corpus["sources"] = {name: {"documents_in": 30 // len(names), "train": split} for name in names}
        raw = {"sources": {name: {"licence": f"of {name}"} for name in names}}
        write_stage(root / "data" / "raw" / language, "raw", {}, {}, raw)
        write_stage(root / "data" / "corpus" / language, "corpus", {}, {}, corpus)
        tokens: dict[str, Any] = {"train": split | {"tokens": 25}, "validation": split | {"tokens": 5}}
        tokens["sources"] = {name: {"tokens": 25 // len(names), "share": 1 / len(names)} for name in names}
        write_stage(root / "data" / "tokens" / language, "tokens", {}, {}, tokens)
    ratios = {"tokens_per_byte": 0.375, "tokens_per_word": 1.5}
    fertility = {"fr": ratios | {"tokens_per_byte": 0.25}, "en": ratios, "ar": ratios | {"tokens_per_byte": 0.5}}
    write_stage(root / "data" / "tokenizer", "tokenizer", {}, {}, {"fertility": fertility})
