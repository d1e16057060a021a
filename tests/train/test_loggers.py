"""TensorBoard, read back with its own reader, and a stand-in for Weights & Biases, which is not installed here.

The stand-in has the parts of wandb's interface that are used: init, Error, and a run's step, log and finish; it keeps
them on disk as the service would, and holds that steps never fall.
"""

import json
import subprocess
import sys

import pytest

from palimpsest.errors import TrainingError
from palimpsest.train.loggers import scalars
from palimpsest.train.metrics_log import read as read_metrics
from palimpsest.train.trainer import train

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


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def wandb(project, monkeypatch):
    """The folder in which the stand-in keeps what it gets."""
    kept = project / "service"
    kept.mkdir()
    (project / "modules").mkdir()
    (project / "modules" / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(project / "modules")
    monkeypatch.setenv("STAND_IN", str(kept))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    yield kept
    sys.modules.pop("wandb", None)


def train_with_a_break(mer, out, loggers, die_at):
    """Dies at step 25, when the last checkpoint is that of step 20; then goes on to the end."""
    die_at(25, *mer, out, 10, loggers=loggers)
    train(*mer, out, 10, loggers=loggers)


def expected(out):
    """By name: (step, value) in order, from metrics.jsonl."""
    found = {}
    for line in read_metrics(out / "metrics.jsonl"):
        for name, value in scalars(line).items():
            found.setdefault(name, []).append((line["step"], value))
    return found


def test_scalars_are_named_by_section():
    step = {"step": 8, "loss": 2.5, "learning_rate": 0.1, "skipped": True}
    assert scalars(step) == {"train/loss": 2.5, "train/learning_rate": 0.1, "train/skipped": 1.0}
    assert scalars({"step": 8, "tokens": 64, "validation": {"en": 1.5}}) == {"train/tokens": 64.0, "validation/en": 1.5}
    line = {"step": 8, "at": "window", "alignment": {"all": 0.5}, "norm_new": {"all": 2.0}}
    assert scalars(line) == {"alignment/window/all": 0.5, "norm_new/window/all": 2.0}


def test_tensorboard_has_every_number_once_also_after_a_resume(mer, project, die_at):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = project / "runs" / "init" / "fr+mer"
    train_with_a_break(mer, out, ["tensorboard"], die_at)
    folder = project / "logs" / "tensorboard" / "init" / "fr+mer"
    assert len(list(folder.iterdir())) == 2
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    names = set(events.Tags()["scalars"])
    wanted = expected(out)
    assert names == {*wanted, "speed/tokens_per_s"}
    assert {"train/loss_replayed", "validation/de", "alignment/interpolated/head"} <= names
    for name, values in wanted.items():
        found = events.Scalars(name)
        assert [event.step for event in found] == [step for step, _ in values], name
        assert [event.value for event in found] == pytest.approx([value for _, value in values], rel=1e-6), name
    assert all(event.value > 0 for event in events.Scalars("speed/tokens_per_s"))


def test_wandb_goes_on_in_the_same_run_and_gets_no_step_twice(mer, wandb, project, die_at):
    out = project / "runs" / "init" / "fr+mer"
    train_with_a_break(mer, out, ["wandb"], die_at)
    first, second = map(json.loads, (wandb / "inits.jsonl").read_text().splitlines())
    assert first == second
    assert first["resume"] == "allow" and first["name"] == "init/fr+mer" and first["project"] == "palimpsest"
    assert first["config"] == mer[0] and (project / first["dir"]).is_dir()
    assert not set(first["id"]) & set("/\\\\#?%:") and len(first["id"]) <= 64
    assert (wandb / "finished").exists()
    found = {}
    for line in map(json.loads, (wandb / first["id"]).read_text().splitlines()):
        step = line.pop("step")
        for name, value in line.items():
            found.setdefault(name, []).append((step, value))
    assert found.pop("speed/tokens_per_s")
    assert found == expected(out)


def test_another_training_is_another_run(mer, wandb, project):
    asked, inputs = mer
    for seed, rate in enumerate((3e-3, 2e-3)):
        settings = asked["train"] | {"learning_rate": rate, "eval_interval": 1000}
        train(asked | {"train": settings}, inputs, project / "runs" / str(seed), 1000, loggers=["wandb"])
    ids = [json.loads(line)["id"] for line in (wandb / "inits.jsonl").read_text().splitlines()]
    assert len(set(ids)) == 2


@pytest.mark.usefixtures("wandb")
def test_a_refusal_of_wandb_says_what_to_do(mer, project, monkeypatch):
    monkeypatch.setenv("STAND_IN_REFUSES", "1")
    with pytest.raises(TrainingError, match=r"train\.loggers: wandb: api_key .*WANDB_MODE=offline"):
        train(*mer, project / "run", 1000, loggers=["wandb"])


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_package_that_is_missing_is_named_with_its_command(mer, project, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrainingError, match=rf"train\.loggers asks for {name}.*`pip install {name}`"):
        train(*mer, project / "run", 1000, loggers=[name])


@pytest.mark.usefixtures("wandb")
def test_loggers_change_no_byte_of_a_run(mer, straight, project, same_files):
    pytest.importorskip("tensorboard")
    train(*mer, project / "run", 1000, loggers=["tensorboard", "wandb"])
    same_files(project / "run", straight)
    assert list((project / "logs" / "tensorboard" / "run").iterdir())


@pytest.mark.slow
def test_nothing_is_imported_that_is_not_asked_for():
    code = (
        "import sys\nimport palimpsest.train.trainer\n"
        "assert not {'wandb', 'tensorboard', 'torch.utils.tensorboard'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
