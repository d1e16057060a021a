"""Whole stages: exact resume after real kills, micro-batches, joint training, and what a finished folder holds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.training import (
    BUDGET,
    DiedError,
    Stage,
    assert_same_files,
    die_after,
    past_text,
    stop_at,
    train_spec,
    write_pool,
)

from palimpsest.errors import ArtifactError, DataError, TrainingError
from palimpsest.model.held_out_loss import document_losses
from palimpsest.settings.replay import ReplaySpec
from palimpsest.tokens.sequences import Sequences
from palimpsest.train import checkpoint
from palimpsest.train.checkpoint import Checkpoints, SavedState
from palimpsest.train.data import Batches
from palimpsest.train.metrics import AlignmentRecord, StepRecord, ValidationRecord, read_metrics
from palimpsest.train.optimizer import AdamW


def batches_of(stage: Stage) -> Batches:
    return Batches(stage.spec, stage.inputs.tokens, stage.inputs.pool)


@pytest.mark.slow
def test_killed_in_mid_window_and_resumed_ends_with_the_same_bytes(mer: Stage, straight: Path, tmp_path: Path) -> None:
    """SIGKILL after steps 9 and 24 (windows end at 7, 14, 21, 28): every file of the folder is the same in the end."""
    out, stage = tmp_path / "run", mer.with_settings(checkpoint_interval=3)
    for step in (9, 24):
        process = subprocess.Popen(stage.command(out))
        assert stop_at(process, out, step, process.kill) == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
    done = subprocess.run(stage.command(out), check=True, capture_output=True, text=True)
    assert "resuming after step" in done.stderr
    assert_same_files(out, straight)
    records = read_metrics(out / "metrics.jsonl")
    measured = {(record.step, record.at) for record in records if isinstance(record, AlignmentRecord)}
    assert {(8, "step"), (14, "window"), (32, "step"), (35, "interpolated")} <= measured


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_and_exits_non_zero(mer: Stage, straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = mer.with_settings(checkpoint_interval=3).command(out)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert stop_at(process, out, 6, process.terminate) == 1
    assert process.stderr and "error: stopped by a signal" in process.stderr.read()
    mer.train(out)
    assert_same_files(out, straight)


def die_in(target: str, function: Callable[..., Any], number: int, stage: Stage, out: Path) -> None:
    """Train until ``function``, which ``target`` names, is called for the ``number``th time; that call does nothing."""
    calls = []

    def run(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == number:
            raise DiedError
        return function(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"palimpsest.train.{target}", run)
        with pytest.raises(DiedError):
            stage.train(out)


def test_a_checkpoint_that_was_cut_short_is_ignored(mer: Stage, straight: Path, tmp_path: Path) -> None:
    out, stage = tmp_path / "run", mer.with_settings(checkpoint_interval=10)
    die_in("checkpoint.SavedState.write", SavedState.write, 1, stage, out)
    assert list(out.glob(".checkpoint-*.tmp")) and not list(out.glob("checkpoint-*"))
    stage.train(out)
    assert_same_files(out, straight)


def test_a_death_before_the_second_checkpoint_is_complete_leaves_the_first(
    mer: Stage, straight: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only one is retained, and it is removed once the next is complete."""
    out, stage = tmp_path / "run", mer.with_settings(checkpoint_interval=10)
    die_in("checkpoint.SavedState.write", SavedState.write, 2, stage, out)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000010"]
    with caplog.at_level("INFO"):
        stage.train(out)
    assert "resuming after step 10 of 40" in caplog.text
    assert_same_files(out, straight)


@pytest.mark.parametrize("call", [1, 2])
def test_a_death_at_the_end_of_a_stage_leaves_the_last_checkpoint(
    mer: Stage, straight: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, call: int
) -> None:
    """Before the weights are written, and between them and AdamW's moments."""
    out, stage = tmp_path / "run", mer.with_settings(checkpoint_interval=30)
    die_in("export.write_full_tensors", checkpoint.write_full_tensors, call, stage, out)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000030"]
    assert not (out / "state.json").exists() and not (out / "manifest.json").exists()
    with caplog.at_level("INFO"):
        stage.train(out)
    assert "resuming after step 30 of 40" in caplog.text
    assert_same_files(out, straight)


def test_a_stage_is_finished_once_its_state_is_written(
    mer: Stage, straight: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A death after that and before the checkpoint is removed: nothing is trained again."""
    out, stage = tmp_path / "run", mer.with_settings(checkpoint_interval=30)
    die_in("checkpoint.Checkpoints.remove_all", Checkpoints.remove_all, 2, stage, out)
    assert (out / "state.json").exists() and list(out.glob("checkpoint-*"))
    with caplog.at_level("INFO"):
        stage.train(out)
    assert "was trained before" in caplog.text
    assert_same_files(out, straight)


def flip_bit(path: Path) -> None:
    """Flip one bit in the middle of a file, whose size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("corrupt", [flip_bit, lambda path: os.truncate(path, 100), Path.unlink])
def test_a_corrupt_checkpoint_is_not_resumed_from(
    mer: Stage, tmp_path: Path, corrupt: Callable[[Path], object]
) -> None:
    stage = mer.with_settings(checkpoint_interval=10)
    last = die_after(25, stage, tmp_path / "run")
    corrupt(last / "rank-00000.safetensors")
    with pytest.raises(TrainingError, match=rf"{last.name}/rank-00000\.safetensors: is corrupt; delete its folder"):
        stage.train(tmp_path / "run")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_corrupt_parent_is_refused(mer: Stage, tmp_path: Path, name: str) -> None:
    shutil.copytree(mer.inputs.parent, tmp_path / "parent")
    flip_bit(tmp_path / "parent" / name)
    with pytest.raises(ArtifactError, match=rf"parent/{name}: is corrupt"):
        mer.with_inputs(parent=tmp_path / "parent").train(tmp_path / "run")


def test_a_finished_training_is_recognised_and_only_its_manifest_written(
    mer: Stage, straight: Path, tmp_path: Path
) -> None:
    """As after a death between writing state.json and removing what is no longer needed."""
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    (out / "checkpoint-00000030").mkdir()
    before = (out / "model.safetensors").stat().st_mtime_ns
    (out / "manifest.json").unlink()
    mer.train(out)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    assert_same_files(out, straight)


@pytest.mark.parametrize("corrupt", [lambda path: path.unlink(), lambda path: path.write_bytes(b"torn")])
def test_a_corrupt_training_does_not_count_as_finished(
    mer: Stage, straight: Path, tmp_path: Path, corrupt: Callable[[Path], object]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    corrupt(out / "model.safetensors")
    (out / "manifest.json").unlink()
    mer.train(out)
    assert_same_files(out, straight)


def test_another_training_never_adopts_what_lies_there(mer: Stage, straight: Path, tmp_path: Path) -> None:
    """The folder holds a finished run of ε = 0.5; training with ε = 0.9 there starts from scratch."""
    out, other = tmp_path / "run", mer.with_mer(step_size=0.9)
    shutil.copytree(straight, out)
    other.train(out)
    other.train(tmp_path / "clean")
    assert_same_files(out, tmp_path / "clean")
    assert (out / "model.safetensors").read_bytes() != (straight / "model.safetensors").read_bytes()


def with_another_manifest(folder: Path, copy: Path) -> Path:
    """A copy of a folder, made with other params."""
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"params": manifest["params"] | {"other": True}}))
    return copy


def test_checkpoints_of_another_training_are_discarded_only_on_request(mer: Stage, tmp_path: Path) -> None:
    out, stage = tmp_path / "run", mer.with_settings(checkpoint_interval=10)
    last = die_after(25, stage, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = stage.with_settings(learning_rate=2e-3)
    tokens = mer.inputs.tokens
    for changed in (
        other,
        stage.with_inputs(tokens=tokens | {"de": with_another_manifest(tokens["de"], tmp_path / "de")}),
        stage.with_inputs(pool=with_another_manifest(mer.inputs.pool or Path(), tmp_path / "pool")),
        stage.with_inputs(parent=with_another_manifest(mer.inputs.parent, tmp_path / "parent")),
    ):
        refused = rf"{last.name}: belongs to a run with different data or params.*--discard-checkpoints"
        with pytest.raises(TrainingError, match=refused):
            changed.train(out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    other.train(out, discard_checkpoints=True)
    other.train(tmp_path / "clean")
    assert_same_files(out, tmp_path / "clean")


@pytest.mark.parametrize("settings", [{"keep_checkpoints": 3}, {"on_bad_step": "skip"}, {"checkpoint_interval": 7}])
def test_options_that_shape_no_output_can_change_before_a_resume(
    mer: Stage, straight: Path, tmp_path: Path, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    die_after(25, mer.with_settings(checkpoint_interval=10), out)
    with caplog.at_level("INFO"):
        mer.with_settings(**settings).train(out)
    assert "resuming after step 20 of 40" in caplog.text
    assert_same_files(out, straight)


@pytest.mark.slow
def test_a_second_process_is_kept_out_of_a_folder_until_the_first_has_died(
    mer: Stage, straight: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(mer.with_settings(checkpoint_interval=3).command(out))

    def train_beside() -> None:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(TrainingError, match=rf"{out}: another process trains here"):
            mer.train(out)
        process.kill()

    assert stop_at(process, out, 6, train_beside) == -signal.SIGKILL
    mer.train(out)
    assert_same_files(out, straight)


def test_text_that_is_repeated_is_reported(english: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    english.train(tmp_path / "once")
    assert "epochs" not in caplog.text
    available = len(Sequences(english.inputs.tokens["en"], "train", english.spec.train.context_length))
    more = train_spec(1, "en", sequences=available + available // 2)
    replace(english, spec=more).train(tmp_path / "more")
    assert "en: 1.50 epochs of its text" in caplog.text


def test_validation_takes_no_more_windows_at_once_than_training(
    mer: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spy(*arguments: Any, batch_size: int, **options: Any) -> Any:
        seen.append(batch_size)
        return document_losses(*arguments, batch_size=batch_size, **options)

    monkeypatch.setattr("palimpsest.train.validate.document_losses", spy)
    for micro_batch_size, expected in ((None, 4), (3, 3)):
        seen.clear()
        mer.with_settings(micro_batch_size=micro_batch_size).train(tmp_path / str(micro_batch_size))
        assert set(seen) == {expected}


def test_moments_are_reset_after_an_interpolation_on_request(mer: Stage, straight: Path, tmp_path: Path) -> None:
    """40 steps in windows of 7: the last window has 5, and closes too, so that nothing is left to carry on."""
    seen, step = [], AdamW.step

    def spy(optimizer: AdamW) -> None:
        moments = optimizer.moments
        means = [tensor for name, tensor in moments.items() if name.startswith("exp_avg.")]
        seen.append((moments["step"].item(), not any(mean.any() for mean in means)))
        step(optimizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdamW, "step", spy)
        mer.with_mer(moments="reset").train(tmp_path / "run")
    # The first window starts with the moments of the stage before, which took 30 steps.
    expected = [30.0 + step for step in range(7)] + [float(step % 7) for step in range(7, 40)]
    assert seen == [(step, step == 0) for step in expected]
    moments = load_file(tmp_path / "run" / "optimizer.safetensors")
    assert all(not tensor.any() for tensor in moments.values())
    assert load_file(straight / "optimizer.safetensors")["step"].item() == 70


def test_micro_batches_change_nothing_but_the_order_of_sums(root: Path, english: Stage, tmp_path: Path) -> None:
    english.with_settings(micro_batch_size=3).train(tmp_path / "micro")
    whole, micro = load_file(root / "en" / "model.safetensors"), load_file(tmp_path / "micro" / "model.safetensors")
    for name in whole:
        torch.testing.assert_close(micro[name], whole[name], rtol=1e-3, atol=1e-4)


def test_step_size_1_is_plain_training(mer: Stage, tmp_path: Path) -> None:
    mer.with_mer(step_size=1.0).train(tmp_path / "one")
    mer.without_mer().train(tmp_path / "plain")
    one, plain = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "plain"))
    assert one == plain


def token_set(batches: Batches) -> set[int]:
    """The tokens of the first batch, without end-of-text; each language has tokens of its own."""
    return set(np.unique(batches[0].rows).tolist()) - {0}


def test_ledger_counts_what_the_batches_held(mer: Stage, english: Stage, straight: Path) -> None:
    batches = batches_of(mer)
    seen = [batches[step] for step in range(len(batches))]
    ledger = json.loads((straight / "manifest.json").read_text())["counts"]["ledger"]
    assert ledger["replayed_sequences"] == sum(int(batch.is_replayed.sum()) for batch in seen)
    assert ledger["new_sequences"] == BUDGET
    assert ledger["total_tokens"] == sum(batch.rows[:, 1:].size for batch in seen)
    english_tokens = token_set(batches_of(english))
    for batch in seen:
        assert [bool(english_tokens & set(row.tolist())) for row in batch.rows] == batch.is_replayed.tolist()


@pytest.mark.parametrize("accounting", ["add", "replace"])
def test_a_pool_holds_exactly_the_sequences_that_the_stage_before_trained_on(
    tokens: dict[str, Path], tmp_path: Path, accounting: Any
) -> None:
    replay = ReplaySpec(rate=Decimal("0.5"), accounting=accounting)
    before = train_spec(2, "fr", past=["en"], replay=replay)
    batches = Batches(before, tokens, write_pool(before, tokens, tmp_path / "before"))
    trained = {
        row.tobytes()
        for step in range(len(batches))
        for row, is_replayed in zip(*batches[step], strict=True)
        if not is_replayed
    }
    after = replace(train_spec(3, "de", replay=replay), past=(past_text("fr", replay),))
    loaded = Batches(after, tokens, write_pool(after, tokens, tmp_path / "after"))
    size = json.loads((tmp_path / "after" / "pool.json").read_text())["sources"][0]["used"]
    assert loaded._pool
    assert {row.tobytes() for row in loaded._read(loaded._pool, range(size))} == trained


def test_a_language_with_too_little_text_is_refused(tokens: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=r"fr: .* train\.context_length"):
        Batches(train_spec(1, "fr", context_length=10_000), tokens, None)


def test_joint_training_draws_all_languages_alike(english: Stage, tokens: dict[str, Path], tmp_path: Path) -> None:
    languages = ("en", "fr", "de")
    joint = replace(english, spec=train_spec(1, languages))
    batches = batches_of(joint)
    rows = np.concatenate([batches[step].rows for step in range(len(batches))])
    assert len(rows) == 3 * BUDGET
    own_tokens = [token_set(Batches(train_spec(1, language), tokens, None)) for language in languages]
    assert [sum(bool(own & set(row.tolist())) for row in rows) for own in own_tokens] == [BUDGET] * 3
    joint.train(tmp_path / "joint")


def test_metrics_hold_every_step_and_every_point_of_the_curves_once(straight: Path) -> None:
    records = list(read_metrics(straight / "metrics.jsonl"))
    steps = [record for record in records if isinstance(record, StepRecord)]
    points = [record for record in records if isinstance(record, ValidationRecord)]
    assert [record.step for record in steps] == list(range(1, 41))
    assert [record.step for record in points] == [10, 20, 30, 40]
    assert [record.tokens for record in points] == [640, 1280, 1920, 159 * 16]
    assert records[-1] == points[-1] and set(points[-1].validation) == {"en", "fr", "de"}
    for record in steps:
        if record.loss_replayed is not None:
            assert record.loss_new is not None
            assert record.loss == pytest.approx((3 * record.loss_new + record.loss_replayed) / 4, rel=1e-5)
    assert any(record.loss_replayed is not None for record in steps)


def test_the_checkpoint_loads_by_transformers_auto_classes(straight: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(straight, local_files_only=True)
    weights = load_file(straight / "model.safetensors")
    assert all(torch.equal(weights[name], weight) for name, weight in model.named_parameters())
    assert AutoTokenizer.from_pretrained(straight, local_files_only=True).convert_tokens_to_ids("w7") == 7


def test_a_loss_that_is_not_finite_stops_training(english: Stage, tmp_path: Path) -> None:
    diverging = english.with_settings(learning_rate=1e30, min_learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"train\.learning_rate"):
        diverging.train(tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.json").exists()
