"""What the trainer passes to its parts: Reptile, AdamW, the learning rate, signals, slices."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.training import LIMIT_S, Stage, assert_same_files, step_records, stop_at, torchrun, train_spec

Train = Callable[..., Path]


@pytest.fixture
def train_french(english: Stage, root: Path, tmp_path: Path) -> Train:
    """Trains so many steps on French alone from the model after English; returns the folder."""

    def run(steps: int, stage: int = 2, **settings: Any) -> Path:
        spec = train_spec(stage, "fr", sequences=steps * english.spec.train.batch_size, **settings)
        replace(english.with_inputs(parent=root / "en"), spec=spec).train(tmp_path / "run")
        return tmp_path / "run"

    return run


@pytest.fixture(scope="module")
def plain(mer: Stage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The final weights of the stage without Reptile."""
    out = tmp_path_factory.mktemp("plain") / "run"
    mer.without_mer().train(out)
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("step_size", [0.0, 0.25, 0.5])
def test_the_end_of_a_stage_closes_a_window_that_is_longer_than_it(
    mer: Stage, plain: dict[str, torch.Tensor], tmp_path: Path, step_size: float
) -> None:
    mer.with_mer(interval=1000, step_size=step_size).train(tmp_path / "run")
    parent, found = (load_file(folder / "model.safetensors") for folder in (mer.inputs.parent, tmp_path / "run"))
    assert found.keys() == parent.keys() == plain.keys()
    for name in found:
        expected = torch.lerp(parent[name], plain[name], step_size) if step_size else parent[name]
        assert torch.equal(found[name], expected), name


@pytest.mark.parametrize(("optimizer_state", "before"), [("carry", 30), ("reset", 0)])
def test_the_optimizer_carries_on_the_parents_state_or_is_reset(
    train_french: Train, optimizer_state: str, before: int
) -> None:
    out = train_french(3, optimizer_state=optimizer_state)
    assert load_file(out / "optimizer.safetensors")["step"].tolist() == [before + 3]


PEAK, CONSTANT, FLOOR = 3e-3, 1e-3, 3e-4
LATE = {"constant_learning_rate": CONSTANT, "cooldown_fraction": 0.4, "decay_fraction": 0.25}


def half_cosine(progress: float, high: float, low: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2


def learning_rates(run: Path) -> list[float]:
    return [record.learning_rate for record in step_records(run)]


def test_a_stage_takes_its_own_part_of_a_single_cosine(train_french: Train) -> None:
    """The second third of a curve whose first tenth is the warm-up."""
    expected = [half_cosine(((20 + step) / 60 - 0.1) / 0.9, PEAK, FLOOR) for step in range(1, 21)]
    assert learning_rates(train_french(20, schedule="single_cosine")) == pytest.approx(expected)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_infinite_schedule_knows_the_first_stage_and_the_last(train_french: Train, stage: int) -> None:
    expected = [CONSTANT] * 20
    if stage == 1:
        expected[:2] = PEAK / 2, PEAK
        expected[2:10] = (half_cosine(step / 8, PEAK, CONSTANT) for step in range(1, 9))
    if stage == 3:
        expected[15:] = (FLOOR + (CONSTANT - FLOOR) * (1 - math.sqrt(step / 5)) for step in range(1, 6))
    assert learning_rates(train_french(20, stage, schedule="infinite", **LATE)) == pytest.approx(expected)


def norm_of_first_moments(run: Path) -> float:
    moments = load_file(run / "optimizer.safetensors").items()
    squares = (values.double().square().sum() for name, values in moments if name.startswith("exp_avg."))
    return math.sqrt(sum(float(square) for square in squares))


def first_gradient_norm(run: Path) -> float:
    norm = step_records(run)[0].gradient_norm
    assert norm is not None
    return norm


def test_gradients_are_clipped_to_the_requested_norm(train_french: Train) -> None:
    out = train_french(1, optimizer_state="reset", grad_clip=1e-6)
    assert first_gradient_norm(out) > 0.1
    assert 0.999e-7 < norm_of_first_moments(out) <= 1.0001e-7


def test_a_gradient_within_the_norm_is_left_as_it_is(train_french: Train) -> None:
    out = train_french(1, optimizer_state="reset", grad_clip=1e9)
    norm = first_gradient_norm(out)
    # Neither the usual norm nor a threshold that is not used at all may do the same.
    assert norm > 1.5
    assert norm_of_first_moments(out) == pytest.approx(0.1 * norm, rel=1e-5)


def test_adamw_gets_every_setting_and_decays_matrices_alone(root: Path, train_french: Train) -> None:
    """One step in float64, and so at the end of its schedule. Each setting moves weights by more than is rounded."""
    lr, beta1, beta2, epsilon, decay = 0.05, 0.8, 0.99, 1e-4, 0.3
    out = train_french(
        1, optimizer_state="reset", learning_rate=4 * lr, min_learning_rate=lr, grad_clip=0.01,
        beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=decay,
    )  # fmt: skip
    assert learning_rates(out) == pytest.approx([lr])
    assert norm_of_first_moments(out) == pytest.approx((1 - beta1) * 0.01, rel=1e-3)
    before, after = (load_file(folder / "model.safetensors") for folder in (root / "en", out))
    moments = load_file(out / "optimizer.safetensors")
    assert {weight.ndim for weight in before.values()} == {1, 2}
    for name, weight in before.items():
        gradient = moments[f"exp_avg.{name}"].double() / (1 - beta1)
        square = (1 - beta2) * gradient.square()
        torch.testing.assert_close(moments[f"exp_avg_sq.{name}"].double(), square, rtol=1e-5, atol=1e-20)
        retained = 1 - lr * decay if weight.ndim == 2 else 1
        expected = weight.double() * retained - lr * gradient / (gradient.abs() + epsilon)
        torch.testing.assert_close(after[name].double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_each_stop_signal_saves_a_checkpoint(mer: Stage, straight: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "run"
    command = mer.with_settings(checkpoint_interval=3).command(out)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert stop_at(process, out, 6, lambda: process.send_signal(number)) == 1
    assert process.stderr and "error: stopped by a signal" in process.stderr.read()
    assert len(list(out.glob("checkpoint-*/state.json"))) == 1
    mer.train(out)
    assert_same_files(out, straight)


SLICES = """
import sys
from pathlib import Path

import numpy as np
import torch
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

from palimpsest.model.hf_checkpoint import load_model
from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.distributed.sharding import full_tensor, shard_model
from palimpsest.train.reptile import Reptile

group = ProcessGroup(2)
for sharding, slices in (("fsdp", 2), ("ddp", 1)):
    model = load_model(Path(sys.argv[1]), torch.device("cpu"))
    shard_model(model, group, sharding, "fp32")
    weights = list(model.parameters())
    reptile = Reptile(weights, 5, 0.3)
    for anchor, weight in zip(reptile.anchor, weights, strict=True):
        assert isinstance(anchor, DTensor) and slices * anchor.to_local().numel() == weight.numel()
    anchors = [full_tensor(weight).detach().numpy().copy() for weight in weights]
    for window in range(3):
        with torch.no_grad():
            for index, weight in enumerate(weights):
                weight.add_(torch.sin(weight * 100 + index + window))
        before = [full_tensor(weight).detach().numpy().copy() for weight in weights]
        with CommDebugMode() as sent:
            assert not reptile.after_step(5 * window + 4, last=False)
            assert reptile.after_step(5 * window + 5, last=False)
        assert sent.get_total_counts() == 0, sent.get_comm_counts()
        # The twin: in NumPy, of full weights, to the bit. The difference is rounded, and then the sum with a product
        # that processors do not round before; float64 holds it exactly.
        step_size = np.float64(np.float32(0.3))
        anchors = [(a + step_size * (w - a)).astype(np.float32) for a, w in zip(anchors, before, strict=True)]
        for weight, twin in zip(weights, anchors, strict=True):
            assert np.array_equal(full_tensor(weight).detach().numpy(), twin)
    # The mode does count what is sent.
    with CommDebugMode() as sent:
        full_tensor(weights[0])
    assert (sent.get_total_counts() > 0) == (slices > 1)
group.close()
"""


@pytest.mark.slow
def test_an_interpolation_of_slices_or_copies_sends_nothing_and_equals_its_numpy_twin(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "slices.py").write_text(SLICES)
    script = [str(tmp_path / "slices.py"), str(root / "en")]
    command = [sys.executable, *torchrun("--standalone", "--nproc-per-node=2"), *script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
