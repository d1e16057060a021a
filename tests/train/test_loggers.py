"""TensorBoard, read back with its own reader, and a stand-in for Weights & Biases, which is not installed here.

The stand-in has the parts of wandb's interface that are used: init, Error, and a run's step, log and finish; it stores
records on disk as the service would, and checks that steps never decrease.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.training import Stage, assert_same_files, die_after

from palimpsest.codec import fingerprint_fields
from palimpsest.errors import TrainingError
from palimpsest.train.loggers import scalars
from palimpsest.train.metrics import AlignmentRecord, StepRecord, ValidationRecord, read_metrics

WANDB = """
import json, os
from pathlib import Path

class Error(Exception):
    pass

class Run:
    def __init__(self, options):
        self.place = Path(os.environ["STAND_IN"]) / options["id"]
        known = self.place.exists() and [json.loads(line) for line in self.place.read_text().splitlines()]
        self.step = known[-1]["step"] + 1 if known else 0
        self.file = self.place.open("a", buffering=1)
    def log(self, data, step=None, commit=None):
        if step < self.step:
            raise AssertionError(f"step {step} after {self.step}")
        self.step = step
        self.file.write(json.dumps({"step": step, **data}) + "\\n")
    def finish(self, exit_code=None, quiet=None):
        self.file.close()
        (self.place.parent / "finished").touch()

def init(project=None, id=None, name=None, config=None, dir=None, resume=None):
    if os.environ.get("STAND_IN_REFUSES"):
        raise Error("api_key not configured (no-tty)")
    options = locals()
    with (Path(os.environ["STAND_IN"]) / "inits.jsonl").open("a") as file:
        file.write(json.dumps(options) + "\\n")
    return Run(options)
"""


Series = dict[str, list[tuple[int, float]]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def wandb(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the stand-in stores what it gets."""
    service = project / "service"
    service.mkdir()
    (project / "modules").mkdir()
    (project / "modules" / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(project / "modules")
    monkeypatch.setenv("STAND_IN", str(service))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    yield service
    sys.modules.pop("wandb", None)


def train_with_a_break(stage: Stage, out: Path) -> None:
    """Dies at step 25, when the last checkpoint is that of step 20; then resumes to the end."""
    die_after(25, stage.with_settings(checkpoint_interval=10), out)
    stage.train(out)


def expected_series(out: Path) -> Series:
    """By name: (step, value) in order, from metrics.jsonl."""
    series: Series = {}
    for record in read_metrics(out / "metrics.jsonl"):
        for name, value in scalars(record).items():
            series.setdefault(name, []).append((record.step, value))
    return series


def test_scalars_are_named_by_section() -> None:
    step = StepRecord(step=8, loss=2.5, learning_rate=0.1, skipped=True)
    assert scalars(step) == {"train/loss": 2.5, "train/learning_rate": 0.1, "train/skipped": 1.0}
    point = ValidationRecord(step=8, tokens=64, validation={"en": 1.5})
    assert scalars(point) == {"train/tokens": 64.0, "validation/en": 1.5}
    alignment = AlignmentRecord(
        step=8, at="window", alignment={"all": 0.5}, norm_new={"all": 2.0}, norm_replayed={"all": 3.0}
    )
    assert scalars(alignment) == {
        "alignment/window/all": 0.5, "norm_new/window/all": 2.0, "norm_replayed/window/all": 3.0,
    }  # fmt: skip


def test_tensorboard_has_every_number_once_also_after_a_resume(mer: Stage, project: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = project / "runs" / "init" / "fr+mer"
    train_with_a_break(mer.with_settings(loggers=("tensorboard",)), out)
    folder = project / "logs" / "tensorboard" / "init" / "fr+mer"
    assert len(list(folder.iterdir())) == 2
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    names = set(events.Tags()["scalars"])
    expected = expected_series(out)
    assert names == {*expected, "speed/tokens_per_s"}
    assert {"train/loss_replayed", "validation/de", "alignment/interpolated/head"} <= names
    for name, values in expected.items():
        found = events.Scalars(name)
        assert [event.step for event in found] == [step for step, _ in values], name
        assert [event.value for event in found] == pytest.approx([value for _, value in values], rel=1e-6), name
    assert all(event.value > 0 for event in events.Scalars("speed/tokens_per_s"))


def test_wandb_continues_the_same_run_and_gets_no_step_twice(mer: Stage, wandb: Path, project: Path) -> None:
    out = project / "runs" / "init" / "fr+mer"
    train_with_a_break(mer.with_settings(loggers=("wandb",)), out)
    first, second = map(json.loads, (wandb / "inits.jsonl").read_text().splitlines())
    assert first == second
    assert first["resume"] == "allow" and first["name"] == "init/fr+mer" and first["project"] == "palimpsest"
    assert first["config"] == fingerprint_fields(mer.spec) and (project / first["dir"]).is_dir()
    assert not set(first["id"]) & set("/\\#?%:") and len(first["id"]) <= 64
    assert (wandb / "finished").exists()
    found: Series = {}
    for line in map(json.loads, (wandb / first["id"]).read_text().splitlines()):
        step = line.pop("step")
        for name, value in line.items():
            found.setdefault(name, []).append((step, value))
    assert found.pop("speed/tokens_per_s")
    assert found == expected_series(out)


def test_another_training_is_another_run(mer: Stage, wandb: Path, project: Path) -> None:
    for number, learning_rate in enumerate((3e-3, 2e-3)):
        stage = mer.with_settings(learning_rate=learning_rate, eval_interval=1000, loggers=("wandb",))
        stage.train(project / "runs" / str(number))
    ids = [json.loads(line)["id"] for line in (wandb / "inits.jsonl").read_text().splitlines()]
    assert len(set(ids)) == 2


@pytest.mark.usefixtures("wandb")
def test_a_refusal_of_wandb_comes_with_a_remedy(mer: Stage, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_REFUSES", "1")
    with pytest.raises(TrainingError, match=r"train\.loggers: wandb: api_key .*WANDB_MODE=offline"):
        mer.with_settings(loggers=("wandb",)).train(project / "run")


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_package_that_is_missing_is_named_with_its_command(
    mer: Stage, project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrainingError, match=rf"train\.loggers requests {name}.*`pip install {name}`"):
        mer.with_settings(loggers=(name,)).train(project / "run")


@pytest.mark.usefixtures("wandb")
def test_loggers_change_no_byte_of_a_run(mer: Stage, straight: Path, project: Path) -> None:
    pytest.importorskip("tensorboard")
    mer.with_settings(loggers=("tensorboard", "wandb")).train(project / "run")
    assert_same_files(project / "run", straight)
    assert list((project / "logs" / "tensorboard" / "run").iterdir())


@pytest.mark.slow
def test_nothing_is_imported_that_is_not_requested() -> None:
    """Nor what one process that trains a Llama does not need: transformers, torch's compiler, its sharded tensors."""
    code = (
        "import sys\nimport palimpsest.train.trainer\n"
        "assert not {'wandb', 'tensorboard', 'torch.utils.tensorboard', 'transformers', 'torch._dynamo',\n"
        "            'torch.distributed.tensor'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
