"""Stage tasks: zero-shot tasks of one checkpoint with lm-evaluation-harness (results/tasks/{lineage})."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest.artifact import Manifest, fingerprint, read_manifest, write_manifest
from palimpsest.codec import fingerprint_fields
from palimpsest.evaluate.results.checkpoint_results import (
    TASKS_FILE,
    TaskResult,
    TaskResults,
    read_task_file,
    write_task_results,
)
from palimpsest.evaluate.task_registry import (
    TaskFile,
    find_data_folder,
    find_task,
    harness_version,
    hash_data_files,
)
from palimpsest.progress import Progress
from palimpsest.specs.evaluation import TaskSpec, TasksSpec

if TYPE_CHECKING:
    from palimpsest.evaluate.lm_eval_harness import Harness

# The files of a checkpoint on which scores depend.
_MODEL_FILES = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, kw_only=True)
class HarnessScore:
    """The first metric of a task; ``stderr`` is None if the harness has none, ``documents`` counts the questions."""

    metric: str
    value: float
    stderr: float | None
    documents: int


@dataclass(frozen=True, kw_only=True)
class _TaskRun:
    """A task on one checkpoint; equal keys mean equal results."""

    file: TaskFile
    data_folder: Path
    key: str


def run_tasks(spec: TasksSpec, run: Path, raw: Mapping[str, Path], out: Path) -> Manifest:
    """Write tasks.json; docs/formats.md lists its keys. ``raw``: language → data/raw/{language}, for sample tasks.

    Results in an earlier tasks.json, also that of an interrupted job, are reused if nothing that they depend on has
    changed. Raises ParamsError or DataError naming a task or a data file that does not exist.
    """
    trained = read_manifest(run, "run")
    inputs = {"run": trained} | {f"raw/{name}": read_manifest(raw[name], "raw") for name in spec.samples}
    samples = {language: raw[language] / source for language, source in spec.samples.items()}
    tasks = [_task_run(task, spec, trained, samples) for task in spec.tasks]
    results = _reusable(out / TASKS_FILE, tasks)
    if missing := [task for task in tasks if task.file.name not in results]:
        _run_missing(missing, results, _harness(spec, run), spec, out)
    file = write_task_results(out, results)
    counts = {name: result.value for name, result in results.items()}
    return write_manifest(
        out, stage="tasks", params=fingerprint_fields(spec), inputs=inputs, files=[file], counts=counts
    )


def _task_run(task: TaskSpec, spec: TasksSpec, trained: Manifest, samples: Mapping[str, Path]) -> _TaskRun:
    file = find_task(task.file or task.name)
    local = not file.from_hub(spec.source)
    data_folder = find_data_folder(file, spec.data_folder, samples) if local else Path()
    parts = {
        "model": {name: trained.files[name].xxh3_128 for name in _MODEL_FILES},
        "config": file.config,
        "data": hash_data_files(file, data_folder) if local else "hub",
        "harness": harness_version(),
        "limit": spec.limit,
        "batch_size": spec.batch_size,
        "threads": spec.threads,
        "revision": spec.revision,
    }
    return _TaskRun(file=file, data_folder=data_folder, key=fingerprint(parts))


def _reusable(path: Path, tasks: Sequence[_TaskRun]) -> dict[str, TaskResult]:
    earlier: TaskResults = read_task_file(path) if path.exists() else {}
    names = [task.file.name for task in tasks if task.file.name in earlier and earlier[task.file.name].key == task.key]
    return {name: earlier[name] for name in names}


def _harness(spec: TasksSpec, run: Path) -> Harness:
    """Set the environment variables that the harness, its libraries and torch read at import, and load the harness."""
    quiet = ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY")
    offline = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE") if spec.source == "local" else ()
    for name in (*quiet, *offline):
        os.environ.setdefault(name, "1")
    # cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from palimpsest.evaluate.lm_eval_harness import Harness

    return Harness(run, spec.batch_size, spec.threads)


def _run_missing(
    missing: Sequence[_TaskRun], results: dict[str, TaskResult], harness: Harness, spec: TasksSpec, out: Path
) -> None:
    """Add to ``results``, and write tasks.json after every task."""
    with (
        tempfile.TemporaryDirectory(prefix="palimpsest-tasks-") as folder,
        Progress("tasks", total=len(missing), unit="tasks") as progress,
    ):
        for number, task in enumerate(missing, start=1):
            name, result = task.file.name, _run(task, harness, spec, Path(folder))
            results[name] = result
            write_task_results(out, results)
            progress.update(number, f"{name} {result.metric} {result.value:.4f} over {result.documents} questions")


def _run(task: _TaskRun, harness: Harness, spec: TasksSpec, folder: Path) -> TaskResult:
    overrides = task.file.overrides(spec.source, task.data_folder, folder / "data")
    score = harness.evaluate(task.file, overrides, spec.limit, folder)
    return TaskResult(
        metric=score.metric,
        value=score.value,
        stderr=score.stderr,
        documents=score.documents,
        chance=task.file.chance,
        language=task.file.language,
        version=task.file.version,
        key=task.key,
    )
