"""Whole stages: exact resume after real kills, micro-batches, joint training, and what a finished folder holds."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from palimpsest.errors import DataError, TrainingError
from palimpsest.replay import pool as replay_pool
from palimpsest.train import initial
from palimpsest.train.batches import Batches
from palimpsest.train.loop import Inputs, train
from palimpsest.train.metrics import read as read_metrics

SHAPE = {"layers": 2, "width": 32, "heads": 2, "ffn": 48, "tie_embeddings": False}
TRAIN = {
    "steps": 30, "batch_size": 4, "micro_batch_size": None, "context_length": 16, "learning_rate": 3e-3,
    "min_learning_rate": 3e-4, "warmup_fraction": 0.1, "schedule": "rewarm_cosine", "optimizer_state": "carry",
    "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "grad_clip": 1.0, "threads": 1,
    "eval_interval": 10, "eval_tokens": 100,
}  # fmt: skip
REPLAY = {"rate": "0.25", "accounting": "add", "scope": "past"}
BUDGET = TRAIN["steps"] * TRAIN["batch_size"]


def spec(stage, language, past=(), replay=None, mer=None, **settings):
    return {
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


def pool_spec(of):
    settings = of["train"]
    return {
        "stage": of["stage"], "seed": of["seed"], "context_length": settings["context_length"],
        "batch_size": settings["batch_size"], "budget": of["new"][0]["budget"], "past": of["past"], **of["replay"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def root(tokens, tokenizer, tmp_path_factory):
    """The initial model and the one after English."""
    folder = tmp_path_factory.mktemp("runs")
    initial.build({"model": SHAPE, "context_length": 16, "seed": 0}, tokenizer, folder / "init")
    inputs = Inputs(parent=folder / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    train(spec(1, "en"), inputs, folder / "en", 1000)
    return folder


@pytest.fixture(scope="module")
def mer(root, tokens, tokenizer):
    """A stage with replay and Reptile (windows of 7 steps, so that the last is a partial one), and its inputs."""
    asked = spec(2, "fr", past=["en"], replay=REPLAY, mer={"interval": 7, "step_size": 0.5})
    replay_pool.build(pool_spec(asked), {"en": tokens["en"]}, root / "pool")
    return asked, Inputs(parent=root / "en", tokenizer=tokenizer, tokens=tokens, pool=root / "pool")


@pytest.fixture(scope="module")
def straight(root, mer):
    train(*mer, root / "straight", 1000)
    return root / "straight"


def command(mer, out, interval):
    asked, inputs = mer
    tokens = [str(folder) for folder in inputs.tokens.values()]
    return [
        sys.executable, "-m", "palimpsest.cli", "train", "--spec", json.dumps(asked), "--parent", str(inputs.parent),
        "--tokens", *tokens, "--tokenizer", str(inputs.tokenizer), "--pool", str(inputs.pool), "--out", str(out),
        "--checkpoint-interval", str(interval),
    ]  # fmt: skip


def stop_at(process, out, step, number):
    """Send a signal as soon as the checkpoint after ``step`` steps is there."""
    give_up = time.monotonic() + 60
    while not (out / f"checkpoint-{step:08d}" / "state.json").exists():
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.001)
    process.send_signal(number)
    return process.wait(60)


def same_files(one, other):
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_killed_in_mid_window_and_resumed_ends_with_the_same_bytes(mer, straight, tmp_path):
    """SIGKILL after steps 9 and 24 (windows end at 7, 14, 21, 28): every file of the folder is the same in the end."""
    out = tmp_path / "run"
    for step in (9, 24):
        process = subprocess.Popen(command(mer, out, 3))
        assert stop_at(process, out, step, signal.SIGKILL) == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
    done = subprocess.run(command(mer, out, 3), check=True, capture_output=True, text=True)
    assert "resuming after step" in done.stderr
    same_files(out, straight)


@pytest.mark.slow
def test_sigterm_keeps_a_checkpoint_and_exits_non_zero(mer, straight, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(command(mer, out, 3), stderr=subprocess.PIPE, text=True)
    assert stop_at(process, out, 6, signal.SIGTERM) == 1
    assert "error: stopped by a signal" in process.stderr.read()
    train(*mer, out, 1000)
    same_files(out, straight)


def test_a_checkpoint_that_was_cut_short_is_passed_over(mer, straight, tmp_path):
    class DiedError(Exception):
        pass

    def die(*_arguments, **_options):
        raise DiedError

    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("palimpsest.train.checkpoint.write_json", die)
        with pytest.raises(DiedError):
            train(*mer, out, 10)
    assert list(out.glob(".checkpoint-*.tmp")) and not list(out.glob("checkpoint-*"))
    train(*mer, out, 10)
    same_files(out, straight)


def test_a_finished_training_is_recognised_and_only_its_manifest_written(mer, straight, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    before = (out / "model.safetensors").stat().st_mtime_ns
    (out / "manifest.json").unlink()
    train(*mer, out, 1000)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    same_files(out, straight)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"torn")])
def test_a_damaged_training_is_not_taken_for_a_finished_one(mer, straight, tmp_path, damage):
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    damage(out / "model.safetensors")
    (out / "manifest.json").unlink()
    train(*mer, out, 1000)
    same_files(out, straight)


def test_another_training_never_adopts_what_lies_there(mer, straight, tmp_path):
    """The folder holds a finished run of ε = 0.5; asked for ε = 0.9 there, training begins anew and ends elsewhere."""
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    asked, inputs = mer
    other = asked | {"mer": {"interval": 7, "step_size": 0.9}}
    train(other, inputs, out, 1000)
    train(other, inputs, tmp_path / "clean", 1000)
    same_files(out, tmp_path / "clean")
    assert (out / "model.safetensors").read_bytes() != (straight / "model.safetensors").read_bytes()


def test_micro_batches_change_nothing_but_the_order_of_sums(root, tokens, tokenizer, tmp_path):
    inputs = Inputs(parent=root / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    train(spec(1, "en", micro_batch_size=3), inputs, tmp_path / "micro", 1000)
    whole, micro = load_file(root / "en" / "model.safetensors"), load_file(tmp_path / "micro" / "model.safetensors")
    for name in whole:
        torch.testing.assert_close(micro[name], whole[name], rtol=1e-3, atol=1e-4)


def test_step_size_1_is_plain_training(mer, tmp_path):
    asked, inputs = mer
    train(asked | {"mer": {"interval": 7, "step_size": 1.0}}, inputs, tmp_path / "one", 1000)
    train(asked | {"mer": None}, inputs, tmp_path / "plain", 1000)
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (
        tmp_path / "plain" / "model.safetensors"
    ).read_bytes()


def test_ledger_counts_what_the_batches_held(mer, straight):
    asked, inputs = mer
    batches = Batches(asked, inputs.tokens, inputs.pool)
    held = [batches[step] for step in range(len(batches))]
    ledger = json.loads((straight / "manifest.json").read_text())["counts"]["ledger"]
    assert ledger["replayed_sequences"] == sum(int(is_replayed.sum()) for _, is_replayed in held)
    assert ledger["new_sequences"] == BUDGET
    assert ledger["total_tokens"] == sum(rows[:, 1:].size for rows, _ in held)
    # English and French have tokens of their own, so that what a row holds says where it came from.
    english = set(np.unique(Batches(spec(1, "en"), inputs.tokens, None)[0][0])) - {0}
    for rows, is_replayed in held:
        assert [bool(english & set(row)) for row in rows] == is_replayed.tolist()


@pytest.mark.parametrize("accounting", ["add", "replace"])
def test_a_pool_holds_exactly_the_sequences_that_the_stage_before_trained_on(tokens, tmp_path, accounting):
    replay = REPLAY | {"rate": "0.5", "accounting": accounting}
    before = spec(2, "fr", past=["en"], replay=replay)
    replay_pool.build(pool_spec(before), {"en": tokens["en"]}, tmp_path / "before")
    batches = Batches(before, tokens, tmp_path / "before")
    trained = {
        row.tobytes() for step in range(len(batches)) for row, old in zip(*batches[step], strict=True) if not old
    }
    after = spec(3, "de", replay=replay)
    after["past"] = [{"language": "fr", "budget": BUDGET, "rate": "0.5", "accounting": accounting}]
    replay_pool.build(pool_spec(after), {"fr": tokens["fr"]}, tmp_path / "after")
    loaded = Batches(after, tokens, tmp_path / "after")
    pool = json.loads((tmp_path / "after" / "pool.json").read_text())["sources"][0]["used"]
    assert {row.tobytes() for row in loaded._read(loaded._pool, range(pool))} == trained


def test_a_language_with_too_little_text_is_refused(tokens):
    with pytest.raises(DataError, match=r"fr: .* train\.context_length"):
        Batches(spec(1, "fr", context_length=10_000), tokens, None)


def test_joint_training_takes_as_much_of_every_language(root, tokens, tokenizer, tmp_path):
    asked = spec(1, ["en", "fr", "de"])
    batches = Batches(asked, tokens, None)
    rows = np.concatenate([batches[step][0] for step in range(len(batches))])
    assert len(rows) == 3 * BUDGET
    first = [set(np.unique(Batches(spec(1, name), tokens, None)[0][0])) - {0} for name in ("en", "fr", "de")]
    assert [sum(bool(own & set(row)) for row in rows) for own in first] == [BUDGET] * 3
    train(asked, Inputs(parent=root / "init", tokenizer=tokenizer, tokens=tokens, pool=None), tmp_path / "joint", 1000)


def test_metrics_hold_every_step_and_every_point_of_the_curves_once(straight):
    lines = read_metrics(straight / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 41))
    assert [line["step"] for line in lines if "validation" in line] == [10, 20, 30, 40]
    assert set(lines[-1]["validation"]) == {"en", "fr", "de"}
    for line in lines:
        if "loss" in line and "loss_replayed" in line:
            assert line["loss"] == pytest.approx((3 * line["loss_new"] + line["loss_replayed"]) / 4, rel=1e-5)


def test_the_checkpoint_loads_by_transformers_auto_classes(straight):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(straight, local_files_only=True)
    weights = load_file(straight / "model.safetensors")
    assert all(torch.equal(weights[name], weight) for name, weight in model.named_parameters())
    assert AutoTokenizer.from_pretrained(straight, local_files_only=True).convert_tokens_to_ids("w7") == 7


def test_a_loss_that_is_not_finite_stops_training(root, tokens, tokenizer, tmp_path):
    inputs = Inputs(parent=root / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    with pytest.raises(TrainingError, match=r"train\.learning_rate"):
        train(spec(1, "en", learning_rate=1e30, min_learning_rate=1e30), inputs, tmp_path / "run", 1000)
    assert not (tmp_path / "run" / "manifest.json").exists()
