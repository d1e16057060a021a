"""Small stages of training, and what the tests of one and of several processes do with them."""

import gc
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from palimpsest import legacy_specs
from palimpsest.artifact import write_json
from palimpsest.codec import encode
from palimpsest.experiment import build_specs
from palimpsest.replay.build_pool import build_pool
from palimpsest.train import init_model
from palimpsest.train.trainer import Inputs, train

SHAPE = {"layers": 2, "width": 32, "heads": 2, "ffn": 48, "tie_embeddings": False}
TRAIN = {
    "steps": 30, "batch_size": 4, "micro_batch_size": None, "context_length": 16, "learning_rate": 3e-3,
    "min_learning_rate": 3e-4, "warmup_fraction": 0.1, "schedule": "rewarm_cosine", "optimizer_state": "carry",
    "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "grad_clip": 1.0, "threads": 1,
    "processes": 1, "sharding": "ddp", "precision": "fp32",
    "document_mask": False, "activation_checkpointing": False, "compile": False,
    "spike_nats": 3.0, "spike_factor": None,
    "eval_interval": 10, "eval_tokens": 100, "alignment_interval": None,
}  # fmt: skip
REPLAY = {"rate": "0.25", "accounting": "add", "scope": "past"}
BUDGET = TRAIN["steps"] * TRAIN["batch_size"]


def _spec(stage, language, past=(), replay=None, mer=None, **settings):
    values = {
        "stage": stage,
        "stages": 3,
        "new": [
            {"language": name, "budget": BUDGET} for name in ([language] if isinstance(language, str) else language)
        ],
        "past": [{"language": name, "budget": BUDGET, "rate": "0", "accounting": "add"} for name in past],
        "languages": ["en", "fr", "de"],
        "replay": replay,
        "mer": mer,
        "seed": 0,
        "train": TRAIN | settings,
    }
    # As the command line reads it: with every key.
    return legacy_specs.train(legacy_specs.typed_train(values))


def _pool_spec(of):
    return build_specs.pool_spec(legacy_specs.typed_train(of))


def _command(mer, out, interval, **settings):
    asked, inputs = mer
    out.parent.mkdir(parents=True, exist_ok=True)
    spec = legacy_specs.typed_train(asked, checkpoint_interval=interval, **settings)
    write_json(out.parent / f"{out.name}.spec.json", encode(spec))
    tokens = [str(folder) for folder in inputs.tokens.values()]
    processes = asked["train"]["processes"]
    pool = ["--pool", str(inputs.pool)] if inputs.pool else []
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [
        sys.executable, *launch, "-m", "palimpsest.cli", "train", "--spec", str(out.parent / f"{out.name}.spec.json"),
        "--parent", str(inputs.parent), "--tokens", *tokens, "--tokenizer", str(inputs.tokenizer),
        *pool, "--out", str(out),
    ]  # fmt: skip


def _stop_at(process, out, step, send):
    """Call ``send`` as soon as the checkpoint after ``step`` steps is there; the exit status."""
    give_up = time.monotonic() + 60
    while not (out / f"checkpoint-{step:08d}" / "state.json").exists():
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.001)
    send()
    return process.wait(60)


def _workers(launcher):
    """The processes that a torchrun started, in order of rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return [int(child) for child in children if b"--spec" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _same_files(one, other):
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def _close(one, other, *names):
    for file in names:
        found, expected = load_file(one / file), load_file(other / file)
        assert found.keys() == expected.keys()
        for name in found:
            # Sums are taken in another order, AdamW divides by the root of small numbers, and 40 steps go by.
            torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=2e-4)


@pytest.fixture(scope="session")
def close():
    """Whether the tensors in the files ``names`` of two folders are as close as orders of sums leave them."""
    return _close


@pytest.fixture(scope="session")
def spec():
    return _spec


@pytest.fixture(scope="session")
def pool_spec():
    return _pool_spec


@pytest.fixture(scope="session")
def command():
    return _command


@pytest.fixture(scope="session")
def stop_at():
    return _stop_at


@pytest.fixture(scope="session")
def workers():
    return _workers


@pytest.fixture(scope="session")
def same_files():
    return _same_files


class _DiedError(Exception):
    pass


@pytest.fixture
def die_at(monkeypatch):
    """Trains until step ``last`` is done, whose work is lost, and the checkpoint before it is on disk."""

    def run(last, asked, inputs, out, interval, keep=1, **options):
        def die(_progress, step, _loss):
            if step == last:
                raise _DiedError

        with monkeypatch.context() as patch, pytest.raises(_DiedError):
            patch.setattr("palimpsest.train.trainer.Progress.show", die)
            train(asked, inputs, out, interval, keep, **options)
        gc.collect()  # the file that it wrote lines to is closed, and changes no more
        # It is written beside the training.
        latest = out / f"checkpoint-{(last - 1) // interval * interval:08d}"
        give_up = time.monotonic() + 60
        while not (latest / "state.json").exists() or len(list(out.glob("*checkpoint-*"))) > keep:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        return latest

    return run


@pytest.fixture(scope="session")
def root(tokens, tokenizer, tmp_path_factory):
    """The initial model and the one after English."""
    folder = tmp_path_factory.mktemp("runs")
    init_model.build({"model": SHAPE, "context_length": 16, "seed": 0}, tokenizer, folder / "init")
    inputs = Inputs(parent=folder / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    train(_spec(1, "en"), inputs, folder / "en", 1000)
    return folder


@pytest.fixture(scope="session")
def mer(root, tokens, tokenizer):
    """A stage with replay and Reptile (windows of 7 steps, so that the last is a partial one), and its inputs.

    Alignment is measured at steps 8, 16, 24 and 32, and so where windows end at 14, 21, 28 and 35.
    """
    mer = {"interval": 7, "step_size": 0.5, "moments": "keep"}
    asked = _spec(2, "fr", past=["en"], replay=REPLAY, mer=mer, alignment_interval=8)
    build_pool(_pool_spec(asked), {"en": tokens["en"]}, root / "pool")
    return asked, Inputs(parent=root / "en", tokenizer=tokenizer, tokens=tokens, pool=root / "pool")


@pytest.fixture(scope="session")
def straight(root, mer):
    train(*mer, root / "straight", 1000)
    return root / "straight"
