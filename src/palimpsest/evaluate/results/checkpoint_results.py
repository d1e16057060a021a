"""The results of evaluating one checkpoint: losses.json, samples.json and tasks.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from palimpsest.artifact import read_json, read_manifest, write_json
from palimpsest.codec import decode, encode

LOSSES_FILE, SAMPLES_FILE, TASKS_FILE = "losses.json", "samples.json", "tasks.json"


@dataclass(frozen=True, kw_only=True)
class LanguageLosses:
    """The held-out documents of a language, one entry each: summed nats, predicted tokens, and bytes of text."""

    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The beginning of a held-out document, and the model's continuation."""

    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A checkpoint's score on a zero-shot task.

    ``stderr`` is None if the harness has none, ``documents`` counts the questions. ``chance``, ``language`` and
    ``version`` are metadata of the task file. ``key``: hash of everything that the score depends on.
    """

    metric: str
    value: float
    stderr: float | None
    documents: int
    chance: float | None
    language: str | None
    version: int | float | str | None
    key: str


Losses = Mapping[str, LanguageLosses]
Samples = Mapping[str, tuple[Sample, ...]]
TaskResults = Mapping[str, TaskResult]


@dataclass(frozen=True, kw_only=True)
class CheckpointEvaluation:
    """Contents of results/evaluation/{lineage}, by language; ``samples`` is empty if none were requested."""

    losses: Losses
    samples: Samples


def write_evaluation(folder: Path, evaluation: CheckpointEvaluation) -> list[Path]:
    """Write losses.json, and samples.json if there are any; returns their paths."""
    files = {LOSSES_FILE: encode(evaluation.losses)}
    if evaluation.samples:
        files[SAMPLES_FILE] = encode(evaluation.samples)
    for name, value in files.items():
        write_json(folder / name, value)
    return [folder / name for name in files]


def read_evaluation(folder: Path) -> CheckpointEvaluation:
    """Read a finished results/evaluation/{lineage}, languages in the order of training.

    Raises ArtifactError naming the missing file if the checkpoint was not evaluated.
    """
    manifest = read_manifest(folder, "evaluation")
    losses_file = folder / LOSSES_FILE
    losses = decode(dict[str, LanguageLosses], read_json(losses_file), str(losses_file))
    samples: Samples = {}
    if SAMPLES_FILE in manifest.files:
        samples_file = folder / SAMPLES_FILE
        samples = decode(dict[str, tuple[Sample, ...]], read_json(samples_file), str(samples_file))
    return CheckpointEvaluation(
        losses={language: losses[language] for language in manifest.params["languages"]}, samples=samples
    )


def write_task_results(folder: Path, results: TaskResults) -> Path:
    """Write tasks.json; returns its path."""
    write_json(folder / TASKS_FILE, encode(results))
    return folder / TASKS_FILE


def read_task_results(folder: Path) -> TaskResults:
    """Read a finished results/tasks/{lineage}; raises ArtifactError naming the file that is missing or wrong."""
    return read_task_file(read_manifest(folder, "tasks").folder / TASKS_FILE)


def read_task_file(path: Path) -> TaskResults:
    """Read one tasks.json, which may be that of an interrupted job."""
    return decode(dict[str, TaskResult], read_json(path), str(path))
