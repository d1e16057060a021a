"""Zero-shot tasks of one checkpoint by lm-evaluation-harness: results/tasks/{lineage}."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.artifact import Manifest, fingerprint, read_json, read_manifest, write_json, write_manifest
from palimpsest.evaluate import catalogue

if TYPE_CHECKING:
    from palimpsest.evaluate.harness import Harness

logger = logging.getLogger(__name__)

FILE = "tasks.json"
# What of a checkpoint answers depend on.
_MODEL = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A task as it is asked of a checkpoint; answers with an equal ``key`` are equal."""

    task: catalogue.Task
    folder: Path
    key: str


def build(spec: dict[str, Any], run: Path, raw: dict[str, Path], out: Path) -> Manifest:
    """Write tasks.json; docs/formats.md says what it holds. ``raw``: language → data/raw/{language}, for sample tasks.

    Answers are kept from an earlier tasks.json where nothing that they depend on has changed, also of one that was
    stopped half-way. Raises ParamsError or DataError for a task or a data file that is not there.
    """
    trained = read_manifest(run, "run")
    inputs = {"run": trained} | {f"raw/{name}": read_manifest(raw[name], "raw") for name in spec["samples"]}
    samples = {language: raw[language] / source for language, source in spec["samples"].items()}
    asked = [_asked(entry, spec, trained, samples) for entry in spec["tasks"]]
    answers = _kept(out / FILE, asked)
    if missing := [one for one in asked if one.task.name not in answers]:
        harness = _harness(spec, run)
        with tempfile.TemporaryDirectory(prefix="palimpsest-tasks-") as folder:
            for one in missing:
                answers[one.task.name] = _answer(one, harness, spec, Path(folder))
                write_json(out / FILE, answers)
    write_json(out / FILE, answers)
    counts = {name: answer["value"] for name, answer in answers.items()}
    return write_manifest(out, stage="tasks", params=_placeless(spec), inputs=inputs, files=[out / FILE], counts=counts)


def _placeless(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec without where files lie on this machine; their hashes stay."""
    tasks = [{key: value for key, value in entry.items() if key != "file"} for entry in spec["tasks"]]
    return {key: value for key, value in spec.items() if key != "data_folder"} | {"tasks": tasks}


def _asked(entry: dict[str, Any], spec: dict[str, Any], trained: Manifest, samples: dict[str, Path]) -> _Asked:
    task = catalogue.find(entry["file"] or entry["name"])
    local = not task.from_hub(spec["source"])
    folder = catalogue.folder(task, spec["data_folder"], samples) if local else Path()
    parts = {
        "model": {name: trained.files[name]["xxh3_128"] for name in _MODEL},
        "config": task.config,
        "data": catalogue.data_hashes(task, folder) if local else "hub",
        "harness": catalogue.harness_version(),
        **{name: spec[name] for name in ("limit", "batch_size", "threads", "revision")},
    }
    return _Asked(task=task, folder=folder, key=fingerprint(parts))


def _kept(path: Path, asked: list[_Asked]) -> dict[str, Any]:
    earlier = read_json(path) if path.exists() else {}
    return {
        one.task.name: earlier[one.task.name] for one in asked if earlier.get(one.task.name, {}).get("key") == one.key
    }


def _harness(spec: dict[str, Any], run: Path) -> Harness:
    """Environment variables are read when the harness and what it stands on, torch included, are imported."""
    quiet = ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY")
    offline = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE") if spec["source"] == "local" else ()
    for name in (*quiet, *offline):
        os.environ.setdefault(name, "1")
    # cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from palimpsest.evaluate.harness import Harness

    return Harness(run, spec["batch_size"], spec["threads"])


def _answer(one: _Asked, harness: Harness, spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    task = one.task
    figure = harness.ask(task, task.overrides(spec["source"], one.folder, folder / "data"), spec["limit"], folder)
    logger.info("%s: %s %.4f over %d questions", task.name, *(figure[key] for key in ("metric", "value", "documents")))
    head = {key: task.metadata.get(key) for key in ("chance", "language", "version")}
    return figure | head | {"key": one.key}
