"""Bad steps: judged as a twin judges them, skipped without a trace in the weights, and the same after a resume."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.training import Stage, assert_same_files, die_after, step_records, train_spec

from palimpsest.errors import TrainingError
from palimpsest.train.metrics import StepRecord
from palimpsest.train.spike_guard import SpikeGuard
from palimpsest.train.wrap.training_model import TrainingModel


def good_steps(losses: list[float]) -> list[StepRecord]:
    return [
        StepRecord(step=step, loss=loss, learning_rate=0.1, gradient_norm=1.0) for step, loss in enumerate(losses, 1)
    ]


def test_a_norm_above_the_median_of_the_last_hundred_good_ones_is_bad() -> None:
    norms = np.random.default_rng(0).lognormal(sigma=0.5, size=400).tolist()
    guard, bad = SpikeGuard(None, 2.0), 0
    good: list[float] = []
    for norm in norms:
        expected = len(good) >= 10 and norm > 2.0 * float(np.median(good[-100:]))
        assert bool(guard.check(1.0, norm)) == expected
        bad += expected
        good += [] if expected else [norm]
    assert 10 < bad < 200


def test_a_loss_far_above_the_median_of_the_last_hundred_good_ones_is_bad() -> None:
    """Falling from 8 to 2 nats, with noise; the records of a log so far, the first 60, count as steps."""
    rng = np.random.default_rng(1)
    losses = (2 + 6 * np.exp(-np.arange(400) / 80) + rng.normal(scale=1.0, size=400)).tolist()
    guard, bad = SpikeGuard(1.5, None), 0
    good: list[float] = []
    for step, loss in enumerate(losses):
        if step == 60:
            guard = SpikeGuard(1.5, None, good_steps(good))
        expected = len(good) >= 10 and loss > float(np.median(good[-100:])) + 1.5
        assert bool(guard.check(loss, 1.0)) == expected
        bad += expected
        good += [] if expected else [loss]
    assert 3 < bad < 100


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf), (math.inf, math.nan)])
def test_what_is_not_finite_is_always_bad(loss: float, norm: float) -> None:
    assert SpikeGuard(None, None).check(loss, norm)


def test_without_a_factor_no_norm_is_a_spike() -> None:
    guard = SpikeGuard(None, None, good_steps([1.0] * 50))
    assert guard.check(1e3, 1e9) is None


def spoil_losses(is_bad: Callable[[int], bool], first: int = 0) -> Callable[..., Any]:
    """TrainingModel.losses, with losses that are not numbers in passes whose index, from ``first``, ``is_bad``."""
    losses, indices = TrainingModel.losses, iter(range(first, 10**6))

    def spoiled(model: TrainingModel, rows: torch.Tensor, weights: torch.Tensor) -> Any:
        factor = math.nan if is_bad(next(indices)) else 1.0
        return tuple(part * factor for part in losses(model, rows, weights))

    return spoiled


@pytest.fixture
def broken_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 6th batch of the stage has a loss that is not a number."""
    monkeypatch.setattr(TrainingModel, "losses", spoil_losses(lambda index: index == 5))


def skipped_count(run: Path) -> int:
    return int(json.loads((run / "manifest.json").read_text())["counts"]["skipped"])


@pytest.mark.usefixtures("broken_step")
def test_a_skipped_step_leaves_weights_and_moments_and_is_counted(mer: Stage, tmp_path: Path) -> None:
    mer.with_settings(on_bad_step="skip").train(tmp_path / "run")
    assert [record.step for record in step_records(tmp_path / "run") if record.skipped] == [6]
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    (skipped,) = (line for line in lines if "skipped" in line)
    assert set(skipped) == {"step", "learning_rate", "skipped"}
    assert skipped_count(tmp_path / "run") == 1
    moments = load_file(tmp_path / "run" / "optimizer.safetensors")
    assert moments["step"].item() == 30 + 40 - 1
    assert all(torch.isfinite(tensor).all() for tensor in moments.values())


def test_a_training_that_stopped_at_a_bad_step_continues_without_it_on_request(
    mer: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A gradient that stands out ends it after its checkpoint; then it skips all such, as if it had from the start."""
    out, stopping = tmp_path / "run", mer.with_settings(spike_factor=1.2, checkpoint_interval=5)
    skipping = stopping.with_settings(on_bad_step="skip", checkpoint_interval=1000)
    with pytest.raises(TrainingError, match=r"the last checkpoint remains\. Set train\.on_bad_step: skip to skip it"):
        stopping.train(out)
    (last,) = out.glob("checkpoint-*")
    with caplog.at_level("INFO"):
        skipping.train(out)
    assert f"resuming after step {int(last.name[-8:])} of 40" in caplog.text
    skipping.train(tmp_path / "straight")
    assert_same_files(out, tmp_path / "straight")
    assert skipped_count(out)
    # What is trained to its end is not trained again.
    caplog.clear()
    with caplog.at_level("INFO"):
        stopping.train(out)
    assert "was trained before" in caplog.text


@pytest.mark.usefixtures("broken_step")
def test_a_bad_step_stops_and_leaves_the_last_checkpoint(mer: Stage, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"at step 6; the last checkpoint remains.*train\.on_bad_step: skip"):
        mer.with_settings(checkpoint_interval=5).train(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-00000005"]


def test_spikes_are_skipped_alike_in_a_resumed_training(mer: Stage, tmp_path: Path) -> None:
    skipping = mer.with_settings(spike_factor=1.05, on_bad_step="skip", checkpoint_interval=7)
    skipping.with_settings(checkpoint_interval=1000).train(tmp_path / "straight")
    assert 3 < skipped_count(tmp_path / "straight") < 30
    die_after(25, skipping, tmp_path / "run")
    skipping.train(tmp_path / "run")
    assert_same_files(tmp_path / "run", tmp_path / "straight")


def test_steps_are_not_skipped_for_ever(mer: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the 6th on each step is bad; a resumed training stops at the same one."""
    losses = TrainingModel.losses
    stage = mer.with_settings(alignment_interval=None, on_bad_step="skip", checkpoint_interval=11)
    for done in (0, 22):
        monkeypatch.setattr(TrainingModel, "losses", losses)
        monkeypatch.setattr(TrainingModel, "losses", spoil_losses(lambda index: index >= 5, done))
        with pytest.raises(TrainingError, match=r"nan.* at step 26, as at many before it.*spike_factor"):
            stage.train(tmp_path / "run")
        assert sum(record.skipped for record in step_records(tmp_path / "run")) == 20


def test_a_training_may_begin_with_a_skipped_step(
    english: Stage, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without moments to carry, and with a checkpoint before AdamW's first step."""
    monkeypatch.setattr(TrainingModel, "losses", spoil_losses(lambda _index: True))
    spec = train_spec(1, "en", sequences=12 * 4, checkpoint_interval=1, on_bad_step="skip")
    replace(english, spec=spec).train(tmp_path / "run")
    assert skipped_count(tmp_path / "run") == 12
    before, after = (load_file(folder / "model.safetensors") for folder in (root / "init", tmp_path / "run"))
    assert all(torch.equal(before[name], after[name]) for name in before)
