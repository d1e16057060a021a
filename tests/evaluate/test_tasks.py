"""results/tasks: what is kept and what is asked anew, with a harness that only pretends."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from palimpsest.artifact import read_json, read_manifest, write_manifest
from palimpsest.errors import DataError, ParamsError
from palimpsest.evaluate import catalogue, tasks

NAMES = ["sample_cloze_en", "piqa"]


class Pretended:
    """Answers with the number of tasks that it was asked; is stopped at ``stop``."""

    def __init__(self, stop: str | None) -> None:
        self.asked: list[str] = []
        self.stop = stop

    def ask(self, task: catalogue.Task, overrides: dict[str, Any], limit: int | None, folder: Path) -> dict[str, Any]:
        assert Path(overrides["dataset_kwargs"]["data_files"]["test"]).is_file() and folder.is_dir()
        if task.name == self.stop:
            raise KeyboardInterrupt
        self.asked.append(task.name)
        return {"metric": "acc", "value": len(self.asked) / 8, "stderr": None, "documents": limit or 8}


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    def start(stop: str | None = None) -> Pretended:
        harness = Pretended(stop)
        monkeypatch.setattr(tasks, "_harness", lambda *_: harness)
        return harness

    return start


def test_what_is_written(checkpoint: Path, raw: Any, data: Path, tasks_spec: Any, tmp_path: Path, pretend: Any) -> None:
    moved, en = shutil.copytree(data, tmp_path / "moved"), {"en": raw["en"]}
    for folder, out in ((data, "out"), (moved, "again")):
        pretend()
        manifest = tasks.build(tasks_spec(NAMES, folder, en), checkpoint, raw, tmp_path / out)
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


def test_only_what_has_changed_is_asked_anew(
    checkpoint: Path, raw: Any, data: Path, piqa: Any, write_lines: Any, tasks_spec: Any, tmp_path: Path, pretend: Any
) -> None:
    def asked(run: Path = checkpoint, **changes: Any) -> list[str]:
        harness = pretend()
        tasks.build(tasks_spec(NAMES, data, {"en": raw["en"]}, **changes), run, raw, out)
        return list(harness.asked)

    out = tmp_path / "out"
    assert asked() == NAMES
    first = (out / "tasks.json").read_bytes()
    (out / "manifest.json").unlink()  # as Snakemake does before it runs a job again
    assert asked() == [] and (out / "tasks.json").read_bytes() == first
    write_lines(data / "piqa.valid.jsonl.zst", piqa[::-1])
    assert asked() == ["piqa"] and asked() == []
    assert asked(limit=4) == NAMES and asked(limit=4) == []
    other = shutil.copytree(checkpoint, tmp_path / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    files = [other / name for name in read_manifest(checkpoint, "run").files]
    write_manifest(other, stage="run", params={}, inputs={}, counts={}, files=files)
    assert asked(other, limit=4) == NAMES


def test_a_build_that_was_stopped_goes_on(
    checkpoint: Path, raw: Any, data: Path, tasks_spec: Any, tmp_path: Path, pretend: Any
) -> None:
    asked, out = tasks_spec(NAMES, data, {"en": raw["en"]}), tmp_path / "out"
    pretend("piqa")
    with pytest.raises(KeyboardInterrupt):
        tasks.build(asked, checkpoint, raw, out)
    assert not (out / "manifest.json").exists()
    harness = pretend()
    tasks.build(asked, checkpoint, raw, out)
    assert harness.asked == ["piqa"] and read_json(out / "tasks.json").keys() == set(NAMES)
    tasks.build(tasks_spec(["piqa"], data, {}), checkpoint, raw, out)
    assert read_json(out / "tasks.json").keys() == {"piqa"}


def test_what_is_missing_is_named(
    checkpoint: Path, data: Path, tasks_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tasks_spec(["piqa"], data, {})
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", absent)
        with pytest.raises(ParamsError, match=r"need lm-evaluation-harness: install lm_eval\[hf\]"):
            tasks.build(asked, checkpoint, {}, tmp_path / "out")
    (data / "piqa.valid.jsonl.zst").unlink()
    with pytest.raises(DataError, match=r"evaluate\.task_data: .* has no file piqa\.valid\.jsonl\.zst"):
        tasks.build(asked, checkpoint, {}, tmp_path / "out")


def absent(name: str) -> str:
    raise metadata.PackageNotFoundError(name)
