"""Whole stages: exact resume after real kills, micro-batches, joint training, and what a finished folder holds."""

import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from palimpsest.errors import ArtifactError, DataError, TrainingError
from palimpsest.model.held_out_loss import document_losses
from palimpsest.replay.build_pool import build_pool
from palimpsest.tokens.sequences import Sequences
from palimpsest.train import checkpoint
from palimpsest.train.checkpoint import Checkpoints
from palimpsest.train.data import Batches
from palimpsest.train.metrics_log import read as read_metrics
from palimpsest.train.trainer import Inputs, train

REPLAY = {"rate": "0.25", "accounting": "add", "scope": "past"}
BUDGET = 120


@pytest.mark.slow
def test_killed_in_mid_window_and_resumed_ends_with_the_same_bytes(
    mer, straight, tmp_path, command, stop_at, same_files
):
    """SIGKILL after steps 9 and 24 (windows end at 7, 14, 21, 28): every file of the folder is the same in the end."""
    out = tmp_path / "run"
    for step in (9, 24):
        process = subprocess.Popen(command(mer, out, 3))
        assert stop_at(process, out, step, process.kill) == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
    done = subprocess.run(command(mer, out, 3), check=True, capture_output=True, text=True)
    assert "resuming after step" in done.stderr
    same_files(out, straight)
    alignment = [line for line in read_metrics(out / "metrics.jsonl") if "alignment" in line]
    assert {(8, "step"), (14, "window"), (32, "step"), (35, "interpolated")} <= {
        (line["step"], line["at"]) for line in alignment
    }


@pytest.mark.slow
def test_sigterm_keeps_a_checkpoint_and_exits_non_zero(mer, straight, tmp_path, command, stop_at, same_files):
    out = tmp_path / "run"
    process = subprocess.Popen(command(mer, out, 3), stderr=subprocess.PIPE, text=True)
    assert stop_at(process, out, 6, process.terminate) == 1
    assert "error: stopped by a signal" in process.stderr.read()
    train(*mer, out, 1000)
    same_files(out, straight)


class DiedError(Exception):
    pass


def die_in(target, function, number, mer, out, interval):
    """Train until ``function``, which ``target`` names, is called for the time ``number``, before it does anything."""
    calls = []

    def run(*arguments, **options):
        calls.append(arguments)
        if len(calls) == number:
            raise DiedError
        return function(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"palimpsest.train.{target}", run)
        with pytest.raises(DiedError):
            train(*mer, out, interval)


def test_a_checkpoint_that_was_cut_short_is_passed_over(mer, straight, tmp_path, same_files):
    out = tmp_path / "run"
    die_in("checkpoint.write_json", checkpoint.write_json, 1, mer, out, 10)
    assert list(out.glob(".checkpoint-*.tmp")) and not list(out.glob("checkpoint-*"))
    train(*mer, out, 10)
    same_files(out, straight)


def test_a_death_before_the_second_checkpoint_is_whole_leaves_the_first(mer, straight, tmp_path, same_files, caplog):
    """Only one is kept, and it goes when the next has its place."""
    out = tmp_path / "run"
    die_in("checkpoint.write_json", checkpoint.write_json, 2, mer, out, 10)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000010"]
    with caplog.at_level("INFO"):
        train(*mer, out, 10)
    assert "resuming after step 10 of 40" in caplog.text
    same_files(out, straight)


@pytest.mark.parametrize("call", [1, 2])
def test_a_death_at_the_end_of_a_stage_leaves_the_last_checkpoint(mer, straight, tmp_path, same_files, caplog, call):
    """Before the weights are written, and between them and AdamW's moments."""
    out = tmp_path / "run"
    die_in("trainer.write_whole", checkpoint.write_whole, call, mer, out, 30)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000030"]
    assert not (out / "state.json").exists() and not (out / "manifest.json").exists()
    with caplog.at_level("INFO"):
        train(*mer, out, 30)
    assert "resuming after step 30 of 40" in caplog.text
    same_files(out, straight)


def test_the_first_word_that_a_stage_is_over_is_its_state(mer, straight, tmp_path, same_files, caplog):
    """A death after it and before the checkpoint is removed: nothing is trained again."""
    out = tmp_path / "run"
    die_in("checkpoint.Checkpoints.remove", Checkpoints.remove, 2, mer, out, 30)
    assert (out / "state.json").exists() and list(out.glob("checkpoint-*"))
    with caplog.at_level("INFO"):
        train(*mer, out, 30)
    assert "was trained before" in caplog.text
    same_files(out, straight)


def spoil(path):
    """Flip one bit in the middle of a file, whose size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [spoil, lambda path: os.truncate(path, 100), Path.unlink])
def test_a_checkpoint_that_was_damaged_is_not_gone_on_from(mer, tmp_path, die_at, damage):
    kept = die_at(25, *mer, tmp_path / "run", 10)
    damage(kept / "rank-00000.safetensors")
    with pytest.raises(TrainingError, match=rf"{kept.name}/rank-00000\.safetensors: is damaged; delete its folder"):
        train(*mer, tmp_path / "run", 10)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_parent_that_was_damaged_is_refused(mer, tmp_path, name):
    asked, inputs = mer
    shutil.copytree(inputs.parent, tmp_path / "parent")
    spoil(tmp_path / "parent" / name)
    with pytest.raises(ArtifactError, match=rf"parent/{name}: is corrupt"):
        train(asked, replace(inputs, parent=tmp_path / "parent"), tmp_path / "run", 1000)


def test_a_finished_training_is_recognised_and_only_its_manifest_written(mer, straight, tmp_path, same_files):
    """As after a death between the last word of state.json and the removal of what is no longer needed."""
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    (out / "checkpoint-00000030").mkdir()
    before = (out / "model.safetensors").stat().st_mtime_ns
    (out / "manifest.json").unlink()
    train(*mer, out, 1000)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    same_files(out, straight)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"torn")])
def test_a_damaged_training_is_not_taken_for_a_finished_one(mer, straight, tmp_path, damage, same_files):
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    damage(out / "model.safetensors")
    (out / "manifest.json").unlink()
    train(*mer, out, 1000)
    same_files(out, straight)


def test_another_training_never_adopts_what_lies_there(mer, straight, tmp_path, same_files):
    """The folder holds a finished run of ε = 0.5; asked for ε = 0.9 there, training begins anew and ends elsewhere."""
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    asked, inputs = mer
    other = asked | {"mer": {"interval": 7, "step_size": 0.9, "moments": "keep"}}
    train(other, inputs, out, 1000)
    train(other, inputs, tmp_path / "clean", 1000)
    same_files(out, tmp_path / "clean")
    assert (out / "model.safetensors").read_bytes() != (straight / "model.safetensors").read_bytes()


def made_otherwise(folder, copy):
    """A folder whose manifest says that something else shaped it."""
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"params": manifest["params"] | {"other": True}}))
    return copy


def test_checkpoints_of_another_training_are_lost_only_where_that_is_asked_for(mer, tmp_path, die_at, same_files):
    out, (asked, inputs) = tmp_path / "run", mer
    kept = die_at(25, asked, inputs, out, 10)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = asked | {"train": asked["train"] | {"learning_rate": 2e-3}}
    refused = rf"{kept.name}: is of a training on other data or params.*--discard-checkpoints"
    with pytest.raises(TrainingError, match=refused):
        train(other, inputs, out, 10)
    for changed in (
        replace(inputs, tokens=inputs.tokens | {"de": made_otherwise(inputs.tokens["de"], tmp_path / "de")}),
        replace(inputs, pool=made_otherwise(inputs.pool, tmp_path / "pool")),
        replace(inputs, parent=made_otherwise(inputs.parent, tmp_path / "parent")),
    ):
        with pytest.raises(TrainingError, match=refused):
            train(asked, changed, out, 10)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    train(other, inputs, out, 10, discard_checkpoints=True)
    train(other, inputs, tmp_path / "clean", 1000)
    same_files(out, tmp_path / "clean")


@pytest.mark.slow
def test_a_second_process_is_kept_out_of_a_folder_until_the_first_has_died(
    mer, straight, tmp_path, command, stop_at, same_files
):
    out = tmp_path / "run"
    process = subprocess.Popen(command(mer, out, 3))

    def meet():
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(TrainingError, match=rf"{out}: another process trains here"):
            train(*mer, out, 1000)
        process.kill()

    assert stop_at(process, out, 6, meet) == -signal.SIGKILL
    train(*mer, out, 1000)
    same_files(out, straight)


def test_text_that_is_gone_through_more_than_once_is_told_of(root, spec, tokens, tokenizer, tmp_path, caplog):
    inputs, asked = Inputs(parent=root / "init", tokenizer=tokenizer, tokens=tokens, pool=None), spec(1, "en")
    train(asked, inputs, tmp_path / "once", 1000)
    assert "epochs" not in caplog.text
    held = len(Sequences(tokens["en"], "train", asked["train"]["context_length"]))
    asked["new"][0]["budget"] = held + held // 2
    train(asked, inputs, tmp_path / "more", 1000)
    assert "en: 1.50 epochs of its text" in caplog.text


def test_validation_takes_no_more_windows_at_once_than_training(mer, tmp_path, monkeypatch):
    asked, inputs = mer
    taken = []

    def spy(*arguments, batch_size, **options):
        taken.append(batch_size)
        return document_losses(*arguments, batch_size=batch_size, **options)

    monkeypatch.setattr("palimpsest.train.trainer.document_losses", spy)
    for micro, most in ((None, 4), (3, 3)):
        taken.clear()
        asked = asked | {"train": asked["train"] | {"micro_batch_size": micro}}
        train(asked, inputs, tmp_path / str(micro), 1000)
        assert set(taken) == {most}


def test_moments_begin_anew_after_an_interpolation_where_that_is_asked_for(mer, straight, tmp_path):
    """40 steps in windows of 7: the last window has 5, and closes too, so that nothing is left to carry on."""
    asked, inputs = mer
    asked = asked | {"mer": asked["mer"] | {"moments": "reset"}}
    seen, steps = [], torch.optim.AdamW.step

    def spy(optimizer, *arguments):
        state = next(iter(optimizer.state.values()))
        seen.append((state["step"].item(), state["exp_avg"].abs().sum().item() == 0))
        return steps(optimizer, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spy)
        train(asked, inputs, tmp_path / "run", 1000)
    # The first window goes on with the moments of the stage before, which took 30 steps.
    expected = [30.0 + step for step in range(7)] + [float(step % 7) for step in range(7, 40)]
    assert seen == [(step, step == 0) for step in expected]
    moments = load_file(tmp_path / "run" / "optimizer.safetensors")
    assert all(not tensor.any() for tensor in moments.values())
    assert load_file(straight / "optimizer.safetensors")["step"].item() == 70


def test_micro_batches_change_nothing_but_the_order_of_sums(root, tokens, tokenizer, tmp_path, spec):
    inputs = Inputs(parent=root / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    train(spec(1, "en", micro_batch_size=3), inputs, tmp_path / "micro", 1000)
    whole, micro = load_file(root / "en" / "model.safetensors"), load_file(tmp_path / "micro" / "model.safetensors")
    for name in whole:
        torch.testing.assert_close(micro[name], whole[name], rtol=1e-3, atol=1e-4)


def test_step_size_1_is_plain_training(mer, tmp_path):
    asked, inputs = mer
    train(asked | {"mer": {"interval": 7, "step_size": 1.0, "moments": "keep"}}, inputs, tmp_path / "one", 1000)
    train(asked | {"mer": None}, inputs, tmp_path / "plain", 1000)
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (
        tmp_path / "plain" / "model.safetensors"
    ).read_bytes()


def test_ledger_counts_what_the_batches_held(mer, straight, spec):
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
def test_a_pool_holds_exactly_the_sequences_that_the_stage_before_trained_on(
    tokens, tmp_path, accounting, spec, pool_spec
):
    replay = REPLAY | {"rate": "0.5", "accounting": accounting}
    before = spec(2, "fr", past=["en"], replay=replay)
    build_pool(pool_spec(before), {"en": tokens["en"]}, tmp_path / "before")
    batches = Batches(before, tokens, tmp_path / "before")
    trained = {
        row.tobytes() for step in range(len(batches)) for row, old in zip(*batches[step], strict=True) if not old
    }
    after = spec(3, "de", replay=replay)
    after["past"] = [{"language": "fr", "budget": BUDGET, "rate": "0.5", "accounting": accounting}]
    build_pool(pool_spec(after), {"fr": tokens["fr"]}, tmp_path / "after")
    loaded = Batches(after, tokens, tmp_path / "after")
    pool = json.loads((tmp_path / "after" / "pool.json").read_text())["sources"][0]["used"]
    assert {row.tobytes() for row in loaded._read(loaded._pool, range(pool))} == trained


def test_a_language_with_too_little_text_is_refused(tokens, spec):
    with pytest.raises(DataError, match=r"fr: .* train\.context_length"):
        Batches(spec(1, "fr", context_length=10_000), tokens, None)


def test_joint_training_takes_as_much_of_every_language(root, tokens, tokenizer, tmp_path, spec):
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


def test_a_loss_that_is_not_finite_stops_training(root, tokens, tokenizer, tmp_path, spec):
    inputs = Inputs(parent=root / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    with pytest.raises(TrainingError, match=r"train\.learning_rate"):
        train(spec(1, "en", learning_rate=1e30, min_learning_rate=1e30), inputs, tmp_path / "run", 1000)
    assert not (tmp_path / "run" / "manifest.json").exists()
