"""results/tasks: which results are reused and which tasks run again, with a fake harness."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from support.small_checkpoint import PIQA, tasks_spec, write_jsonl_zst

from palimpsest.artifact import read_json, read_manifest, write_manifest
from palimpsest.errors import DataError, ParamsError
from palimpsest.evaluate import run_tasks as run_tasks_module
from palimpsest.evaluate.run_tasks import HarnessScore, run_tasks
from palimpsest.evaluate.task_registry import TaskFile

NAMES = ["sample_cloze_en", "piqa"]


class FakeHarness:
    """Scores a task with the number of tasks that it has run; is interrupted at ``stop``."""

    def __init__(self, stop: str | None) -> None:
        self.tasks: list[str] = []
        self.stop = stop

    def evaluate(self, task: TaskFile, overrides: dict[str, Any], limit: int | None, folder: Path) -> HarnessScore:
        assert Path(overrides["dataset_kwargs"]["data_files"]["test"]).is_file() and folder.is_dir()
        if task.name == self.stop:
            raise KeyboardInterrupt
        self.tasks.append(task.name)
        return HarnessScore(metric="acc", value=len(self.tasks) / 8, stderr=None, documents=limit or 8)


@pytest.fixture
def fake_harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    def start(stop: str | None = None) -> FakeHarness:
        harness = FakeHarness(stop)
        monkeypatch.setattr(run_tasks_module, "_harness", lambda *_: harness)
        return harness

    return start


def test_tasks_json_and_its_manifest(checkpoint: Path, raw: Any, data: Path, tmp_path: Path, fake_harness: Any) -> None:
    moved, en = shutil.copytree(data, tmp_path / "moved"), {"en": raw["en"]}
    for folder, out in ((data, "out"), (moved, "again")):
        fake_harness()
        manifest = run_tasks(tasks_spec(NAMES, folder, en), checkpoint, raw, tmp_path / out)
    for name in ("tasks.json", "manifest.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text()
    piqa = read_json(tmp_path / "out" / "tasks.json")["piqa"]
    assert len(piqa.pop("key")) == 64 and piqa == {
        "metric": "acc", "value": 0.25, "stderr": None, "documents": 8, "chance": 0.5, "language": "en", "version": 1.0,
    }  # fmt: skip
    assert manifest.counts == {"sample_cloze_en": 0.125, "piqa": 0.25}
    assert manifest.inputs == {
        "run": read_manifest(checkpoint, "run").digest, "raw/en": read_manifest(raw["en"], "raw").digest,
    }  # fmt: skip


def test_only_tasks_with_changed_inputs_run_again(
    checkpoint: Path, raw: Any, data: Path, tmp_path: Path, fake_harness: Any
) -> None:
    def tasks_run(run: Path = checkpoint, **changes: Any) -> list[str]:
        harness = fake_harness()
        run_tasks(tasks_spec(NAMES, data, {"en": raw["en"]}, **changes), run, raw, out)
        return list(harness.tasks)

    out = tmp_path / "out"
    assert tasks_run() == NAMES
    first = (out / "tasks.json").read_bytes()
    (out / "manifest.json").unlink()  # as Snakemake does before it runs a job again
    assert tasks_run() == [] and (out / "tasks.json").read_bytes() == first
    write_jsonl_zst(data / "piqa.valid.jsonl.zst", PIQA[::-1])
    assert tasks_run() == ["piqa"] and tasks_run() == []
    assert tasks_run(limit=4) == NAMES and tasks_run(limit=4) == []
    other = shutil.copytree(checkpoint, tmp_path / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    files = [other / name for name in read_manifest(checkpoint, "run").files]
    write_manifest(other, stage="run", params={}, inputs={}, counts={}, files=files)
    assert tasks_run(other, limit=4) == NAMES


def test_an_interrupted_job_resumes_with_the_next_task(
    checkpoint: Path, raw: Any, data: Path, tmp_path: Path, fake_harness: Any
) -> None:
    spec, out = tasks_spec(NAMES, data, {"en": raw["en"]}), tmp_path / "out"
    fake_harness("piqa")
    with pytest.raises(KeyboardInterrupt):
        run_tasks(spec, checkpoint, raw, out)
    assert not (out / "manifest.json").exists()
    harness = fake_harness()
    run_tasks(spec, checkpoint, raw, out)
    assert harness.tasks == ["piqa"] and read_json(out / "tasks.json").keys() == set(NAMES)
    run_tasks(tasks_spec(["piqa"], data, {}), checkpoint, raw, out)
    assert read_json(out / "tasks.json").keys() == {"piqa"}


def test_a_missing_harness_or_data_file_is_named(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tasks_spec(["piqa"], data, {})
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", absent)
        with pytest.raises(ParamsError, match=r"need lm-evaluation-harness: install lm_eval\[hf\]"):
            run_tasks(spec, checkpoint, {}, tmp_path / "out")
    (data / "piqa.valid.jsonl.zst").unlink()
    with pytest.raises(DataError, match=r"evaluate\.task_data: .* has no file piqa\.valid\.jsonl\.zst"):
        run_tasks(spec, checkpoint, {}, tmp_path / "out")


def absent(name: str) -> str:
    raise metadata.PackageNotFoundError(name)
