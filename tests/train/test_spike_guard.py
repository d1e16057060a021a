"""Bad steps: judged as a twin judges them, skipped without a trace in the weights, and the same after a resume."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from palimpsest.errors import TrainingError
from palimpsest.train.metrics_log import read as read_metrics
from palimpsest.train.spike_guard import Guard
from palimpsest.train.trainer import Inputs, train
from palimpsest.train.wrap.training_model import Network


def test_a_norm_above_the_median_of_the_last_hundred_good_ones_is_bad():
    norms = np.random.default_rng(0).lognormal(sigma=0.5, size=400).tolist()
    guard, good, bad = Guard(None, 2.0, []), [], 0
    for norm in norms:
        expected = len(good) >= 10 and norm > 2.0 * float(np.median(good[-100:]))
        assert bool(guard.problem(1.0, norm)) == expected
        bad += expected
        good += [] if expected else [norm]
    assert 10 < bad < 200


def test_a_loss_far_above_the_median_of_the_last_hundred_good_ones_is_bad():
    """Falling from 8 to 2 nats, with noise; lines of a log so far, the first 60, are as good as steps."""
    rng = np.random.default_rng(1)
    losses = (2 + 6 * np.exp(-np.arange(400) / 80) + rng.normal(scale=1.0, size=400)).tolist()
    guard, good, bad = Guard(1.5, None, []), [], 0
    for step, loss in enumerate(losses):
        if step == 60:
            guard = Guard(1.5, None, [{"loss": loss, "gradient_norm": 1.0} for loss in good])
        expected = len(good) >= 10 and loss > float(np.median(good[-100:])) + 1.5
        assert bool(guard.problem(loss, 1.0)) == expected
        bad += expected
        good += [] if expected else [loss]
    assert 3 < bad < 100


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf), (math.inf, math.nan)])
def test_what_is_not_finite_is_always_bad(loss, norm):
    assert Guard(None, None, []).problem(loss, norm)


def test_without_a_factor_no_norm_is_a_spike():
    guard = Guard(None, None, [{"loss": 1.0, "gradient_norm": 1.0}] * 50)
    assert guard.problem(1e3, 1e9) is None


def changed(mer, **settings):
    asked, inputs = mer
    return asked | {"train": asked["train"] | settings}, inputs


@pytest.fixture
def broken_step(monkeypatch):
    """The 6th batch of the stage has a loss that is not a number."""
    calls, losses = [], Network.losses

    def break_one(network, rows, weights):
        calls.append(rows)
        return tuple(part * (math.nan if len(calls) == 6 else 1.0) for part in losses(network, rows, weights))

    monkeypatch.setattr(Network, "losses", break_one)


@pytest.mark.usefixtures("broken_step")
def test_a_skipped_step_leaves_weights_and_moments_and_is_counted(mer, tmp_path):
    train(*mer, tmp_path / "run", 1000, on_bad_step="skip")
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "validation" not in line]
    assert [line["step"] for line in lines if "skipped" in line] == [6]
    assert set(lines[5]) == {"step", "learning_rate", "skipped"}
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["counts"]["skipped"] == 1
    moments = load_file(tmp_path / "run" / "optimizer.safetensors")
    assert moments["step"].item() == 30 + 40 - 1
    assert all(torch.isfinite(tensor).all() for tensor in moments.values())


def test_a_training_that_a_bad_step_stopped_goes_on_without_it_when_that_is_asked_for(
    mer, same_files, tmp_path, caplog
):
    """A gradient that stands out ends it after its checkpoint; then it skips all such, as if it had from the start."""
    out, asked = tmp_path / "run", changed(mer, spike_factor=1.2)
    with pytest.raises(TrainingError, match=r"the last checkpoint is kept\. Set train\.on_bad_step: skip to pass"):
        train(*asked, out, 5)
    (kept,) = out.glob("checkpoint-*")
    with caplog.at_level("INFO"):
        train(*asked, out, 1000, on_bad_step="skip")
    assert f"resuming after step {int(kept.name[-8:])} of 40" in caplog.text
    train(*asked, tmp_path / "straight", 1000, on_bad_step="skip")
    same_files(out, tmp_path / "straight")
    assert json.loads((out / "manifest.json").read_text())["counts"]["skipped"]
    # What is trained to its end is not trained again.
    caplog.clear()
    with caplog.at_level("INFO"):
        train(*asked, out, 1000)
    assert "was trained before" in caplog.text


@pytest.mark.usefixtures("broken_step")
def test_a_bad_step_stops_with_the_last_checkpoint_kept(mer, tmp_path):
    with pytest.raises(TrainingError, match=r"at step 6; the last checkpoint is kept.*train\.on_bad_step: skip"):
        train(*mer, tmp_path / "run", 5)
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-00000005"]


def test_spikes_are_skipped_alike_in_a_resumed_training(mer, same_files, tmp_path, die_at):
    asked = changed(mer, spike_factor=1.05)
    train(*asked, tmp_path / "straight", 1000, on_bad_step="skip")
    skipped = json.loads((tmp_path / "straight" / "manifest.json").read_text())["counts"]["skipped"]
    assert 3 < skipped < 30
    die_at(25, *asked, tmp_path / "run", 7, on_bad_step="skip")
    train(*asked, tmp_path / "run", 7, on_bad_step="skip")
    same_files(tmp_path / "run", tmp_path / "straight")


def test_steps_are_not_skipped_for_ever(mer, monkeypatch, tmp_path):
    """From the 6th on each is bad, of two passes; a resumed training stops at the same one."""
    losses = Network.losses

    def spoil(network, rows, weights):
        return tuple(part * (math.nan if spoil.calls.pop(0) >= 10 else 1.0) for part in losses(network, rows, weights))

    for done in (0, 22):
        spoil.calls = list(range(2 * done, 100))
        monkeypatch.setattr(Network, "losses", spoil)
        with pytest.raises(TrainingError, match=r"nan.* at step 26, as at many before it.*spike_factor"):
            train(*changed(mer, alignment_interval=None), tmp_path / "run", 11, on_bad_step="skip")
        lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
        assert sum("skipped" in line for line in lines) == 20


def test_a_training_may_begin_with_a_skipped_step(root, spec, tokens, tokenizer, monkeypatch, tmp_path):
    """Without moments to carry, and with a checkpoint before AdamW's first step."""
    losses = Network.losses
    monkeypatch.setattr(Network, "losses", lambda *given: tuple(part * math.nan for part in losses(*given)))
    inputs = Inputs(parent=root / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    asked = spec(1, "en")
    asked["new"][0]["budget"] = 12 * asked["train"]["batch_size"]
    train(asked, inputs, tmp_path / "run", 1, on_bad_step="skip")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["counts"]["skipped"] == 12
    before, after = (load_file(folder / "model.safetensors") for folder in (root / "init", tmp_path / "run"))
    assert all(torch.equal(before[name], after[name]) for name in before)
