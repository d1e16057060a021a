"""The cosine of the gradients of new and replayed sequences: beside autograd by the sequence, and leaving no trace."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from support.training import Stage, train_spec
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.model.hf_checkpoint import load_transformers_model
from palimpsest.model.llama import Llama
from palimpsest.model.llama_config import LlamaConfig
from palimpsest.settings.replay import Mer
from palimpsest.train.data import Batch, Batches
from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.forward_backward import forward_backward
from palimpsest.train.gradient_alignment import GradientAlignment, weight_groups
from palimpsest.train.metrics import AlignmentRecord, MetricsRecord, read_metrics
from palimpsest.train.reptile import Reptile
from palimpsest.train.trainer import Trainer, restore_trainer
from palimpsest.train.training_identity import TrainingIdentity
from palimpsest.train.training_parts import build_parts
from palimpsest.train.wrap.training_model import TrainingModel, document_positions

Weights = dict[str, Tensor]
Measurement = dict[str, tuple[float, float, float]]


class Records(list[MetricsRecord]):
    """A log in memory."""

    def write(self, record: MetricsRecord) -> None:
        self.append(record)

    def sync(self) -> None: ...

    def close(self) -> None: ...

    @property
    def alignment(self) -> list[AlignmentRecord]:
        return [record for record in self if isinstance(record, AlignmentRecord)]


class ReadyTrainer:
    """A trainer before its first step, whose measurements go to ``records``."""

    def __init__(self, stage: Stage, out: Path) -> None:
        parts = build_parts(TrainingIdentity(spec=stage.spec, input_digests={}), stage.inputs, out, ProcessGroup(1))
        self.stage, self.parts, self.records = stage, parts, Records()
        trainer = restore_trainer(parts, discard_checkpoints=False)
        self.alignment = GradientAlignment(
            parts.model, parts.batches, parts.group, self.records,
            interval=stage.spec.train.alignment_interval,
            reptile=parts.state.reptile,
            micro_batch_size=stage.spec.train.micro_batch_size,
        )  # fmt: skip
        self.trainer: Trainer = replace(trainer, log=self.records, alignment=self.alignment)
        parts.model.model.train()

    def step(self, step: int) -> None:
        """Optimiser step number ``step``."""
        self.trainer.train_step(step, self.parts.batches[step - 1])

    def backward(self, rows: np.ndarray) -> None:
        """Add the gradient of the mean loss of some sequences."""
        forward_backward(
            self.parts.model, torch.from_numpy(rows), len(rows), self.parts.group,
            self.stage.spec.train.micro_batch_size,
        )  # fmt: skip

    def weights(self) -> Weights:
        """A copy."""
        return {name: weight.detach().clone() for name, weight in self.parts.model.weights.items()}


@pytest.fixture
def begin(mer: Stage, tmp_path: Path) -> Callable[..., ReadyTrainer]:
    def make(**settings: Any) -> ReadyTrainer:
        return ReadyTrainer(mer.with_settings(**settings), tmp_path)

    return make


def group_of(name: str) -> str | None:
    if found := re.match(r"model\.layers\.(\d+)\.", name):
        return f"block {int(found[1]) + 1}"
    return {"model.embed_tokens.weight": "embedding", "lm_head.weight": "head"}.get(name)


def twin(
    trainer: ReadyTrainer, weights: Weights, step: int, document_mask: bool = False, precision: str = "fp32", **_: Any
) -> Measurement:
    """Cosines and norms by group, from the gradient of each sequence's loss on its own, summed in float64."""
    model = load_transformers_model(trainer.stage.inputs.parent, torch.device("cpu"))
    model.load_state_dict(weights, strict=False)
    rows, is_replayed = trainer.parts.batches[step - 1]
    sums: dict[tuple[str, bool], dict[str, np.ndarray]] = {}
    for row, replayed in zip(torch.from_numpy(rows), is_replayed, strict=True):
        positions = document_positions(row[None, :-1], 0) if document_mask else None
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(row[None, :-1], position_ids=positions, use_cache=False).logits[0].float()
        names, tensors = zip(*model.named_parameters(), strict=True)
        for name, gradient in zip(names, torch.autograd.grad(F.cross_entropy(logits, row[1:]), tensors), strict=True):
            for group in {"all", group_of(name)} - {None}:
                part = sums.setdefault((str(group), bool(replayed)), {})
                part[name] = part.get(name, 0) + gradient.double().numpy().ravel()
    found = {}
    for group in {group for group, _ in sums}:
        new, old = (np.concatenate(list(sums[group, of].values())) / (is_replayed == of).sum() for of in (False, True))
        norms = float(np.linalg.norm(new)), float(np.linalg.norm(old))
        found[group] = (float(new @ old / (norms[0] * norms[1])), *norms)
    return found


def measured(record: AlignmentRecord) -> Measurement:
    return {
        group: (record.alignment[group], record.norm_new[group], record.norm_replayed[group])
        for group in record.alignment
    }


def assert_equal(record: AlignmentRecord, expected: Measurement, **tolerance: Any) -> None:
    found = measured(record)
    assert found.keys() == expected.keys() == {"all", "embedding", "block 1", "block 2", "head"}
    for group in expected:
        assert found[group] == pytest.approx(expected[group], **tolerance), group


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({}, {"rel": 1e-4, "abs": 1e-5}),
        ({"micro_batch_size": 3}, {"rel": 1e-4, "abs": 1e-5}),
        ({"document_mask": True}, {"rel": 1e-4, "abs": 1e-5}),
        ({"activation_checkpointing": True}, {"rel": 1e-4, "abs": 1e-5}),
        ({"precision": "bf16"}, {"rel": 1e-2, "abs": 5e-3}),
    ],
)
def test_equals_the_gradients_of_each_sequence_on_its_own(
    begin: Callable[..., ReadyTrainer], settings: dict[str, Any], tolerance: dict[str, float]
) -> None:
    trainer = begin(alignment_interval=1, **settings)
    for step in (1, 2):
        weights = trainer.weights()
        trainer.step(step)
        assert [(record.step, record.at) for record in trainer.records.alignment] == [(step, "step")]
        assert_equal(trainer.records.alignment[0], twin(trainer, weights, step, **settings), **tolerance)
        trainer.records.clear()


def test_before_and_after_an_interpolation_it_is_of_the_same_batch_at_those_weights(
    begin: Callable[..., ReadyTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, seen = begin(alignment_interval=3), []
    after_step = Reptile.after_step

    def watched(*arguments: Any, **options: Any) -> bool:
        seen.append(trainer.weights())
        closed = after_step(*arguments, **options)
        seen.append(trainer.weights())
        return closed

    monkeypatch.setattr(Reptile, "after_step", watched)
    for step in range(1, 8):
        trainer.step(step)
    records = trainer.records.alignment
    assert [(record.step, record.at) for record in records] == [
        (3, "step"), (6, "step"), (7, "window"), (7, "interpolated"),
    ]  # fmt: skip
    before, after = (twin(trainer, weights, 7) for weights in seen[-2:])
    assert before["all"] != pytest.approx(after["all"], rel=1e-2)
    assert_equal(records[2], before, rel=1e-4, abs=1e-5)
    assert_equal(records[3], after, rel=1e-4, abs=1e-5)


class MeanRowModel:
    """A model of one weight [1, 3] whose loss is weight · row, so that its gradient is the mean row."""

    def __init__(self) -> None:
        self.block = nn.Linear(3, 1, bias=False)
        self.weights = {"weight": self.block.weight}
        self.model = SimpleNamespace(
            base_model=SimpleNamespace(layers=[self.block]),
            get_input_embeddings=lambda: self.block,
            get_output_embeddings=lambda: self.block,
        )
        self.device = torch.device("cpu")

    def losses(self, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """As of two tokens each, with the loss of the row."""
        losses = (rows @ self.block.weight[0])[:, None].expand(-1, 2)
        return (losses.sum(dim=1) * weights).sum(), losses.detach()

    def sync_gradients(self, now: bool) -> None: ...

    def without_compiler(self) -> Any:
        return torch.enable_grad()


def by_hand(rows: list[list[float]], is_replayed: list[bool]) -> AlignmentRecord | None:
    """The measurement of a batch; None where there is none."""
    batch = Batch(np.array(rows, np.float32), np.array(is_replayed))
    fake, group, records = MeanRowModel(), ProcessGroup(1), Records()
    model = cast(TrainingModel, fake)
    alignment = GradientAlignment(
        model, cast(Batches, [batch]), group, records, interval=1, reptile=None, micro_batch_size=None
    )
    forward_backward(model, torch.from_numpy(batch.rows), len(rows), group, None)
    assert fake.block.weight.grad is not None
    torch.testing.assert_close(fake.block.weight.grad, torch.from_numpy(batch.rows).mean(dim=0, keepdim=True))
    before = fake.block.weight.grad.clone()
    alignment.at_step(1)
    assert torch.equal(fake.block.weight.grad, before)
    return records.alignment[0] if records else None


@pytest.mark.parametrize(
    ("rows", "is_replayed", "cosine", "norms"),
    [
        ([[3, 4, 0], [3, 4, 0]], [False, True], 1, (5, 5)),
        ([[3, 4, 0], [-6, -8, 0]], [False, True], -1, (5, 10)),
        ([[1, 0, 0], [0, 0, 2], [3, 0, 0]], [False, True, False], 0, (2, 2)),
        ([[1, 1, 0], [1, 0, 0], [3, 0, 0], [-1, 0, 0]], [False, True, True, True], math.sqrt(0.5), (math.sqrt(2), 1)),
    ],
)
def test_closed_forms(
    rows: list[list[float]], is_replayed: list[bool], cosine: float, norms: tuple[float, float]
) -> None:
    record = by_hand(rows, is_replayed)
    assert record
    for group in ("all", "embedding", "block 1"):
        assert measured(record)[group] == pytest.approx((cosine, *norms), abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "is_replayed"),
    [
        ([[1, 0, 0], [1, 0, 0]], [False, False]),
        ([[1, 0, 0], [1, 0, 0]], [True, True]),
        ([[1, 0, 0], [0, 0, 0]], [False, True]),
    ],
)
def test_where_there_is_no_cosine_no_record_is_written(rows: list[list[float]], is_replayed: list[bool]) -> None:
    assert by_hand(rows, is_replayed) is None


def test_equal_new_and_replayed_sequences_have_cosine_1(begin: Callable[..., ReadyTrainer]) -> None:
    trainer = begin(alignment_interval=1)
    rows, _ = trainer.parts.batches[0]
    batch = Batch(np.tile(rows[:1], (4, 1)), np.array([False, True, False, False]))
    alignment = GradientAlignment(
        trainer.parts.model, cast(Batches, [batch]), trainer.parts.group, trainer.records,
        interval=1, reptile=None, micro_batch_size=None,
    )  # fmt: skip
    trainer.backward(batch.rows)
    alignment.at_step(1)
    for cosine, new, replayed in measured(trainer.records.alignment[0]).values():
        assert cosine == pytest.approx(1, abs=1e-5)
        assert new == pytest.approx(replayed, rel=1e-4)


def test_a_measurement_leaves_gradients_weights_and_generator_to_the_bit(begin: Callable[..., ReadyTrainer]) -> None:
    """A pass draws a random number, as dropout would, which the training must not miss."""
    trainer = begin(alignment_interval=1)
    trainer.parts.model.model.register_forward_pre_hook(lambda *_: torch.rand(1) and None)
    weights = list(trainer.parts.model.weights.values())
    rows, _ = trainer.parts.batches[0]
    trainer.backward(rows)
    gradients = [weight.grad for weight in weights]
    copies = [gradient.clone() for gradient in gradients if gradient is not None]
    before, generator = trainer.weights(), torch.get_rng_state()
    trainer.alignment.at_step(1)
    assert all(weight.grad is gradient for weight, gradient in zip(weights, gradients, strict=True))
    unchanged = [weight.grad for weight in weights if weight.grad is not None]
    assert len(unchanged) == len(copies) and all(map(torch.equal, copies, unchanged))
    assert all(map(torch.equal, before.values(), trainer.weights().values()))
    after = torch.get_rng_state()
    assert torch.equal(generator, after)
    trainer.backward(rows)
    assert not torch.equal(torch.get_rng_state(), after), "a pass draws nothing, so nothing was tested"


def test_training_ends_with_the_same_bytes_measured_or_not(mer: Stage, tmp_path: Path) -> None:
    for interval in (None, 2):
        mer.with_settings(alignment_interval=interval).train(tmp_path / str(interval))
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (tmp_path / "None" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    plain, records = (list(read_metrics(tmp_path / name / "metrics.jsonl")) for name in ("None", "2"))
    assert plain == [record for record in records if not isinstance(record, AlignmentRecord)] != records


def test_nothing_is_compiled_for_the_sizes_of_a_measurement(
    begin: Callable[..., ReadyTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that serves other sizes too could take the place of the training's own, and takes long to compile."""
    compiled = []

    def backend(graph: Any, _inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    def compile_by_it(block: Any, dynamic: bool) -> None:
        block._compiled_call_impl = torch.compile(block._call_impl, backend=backend, dynamic=dynamic)

    monkeypatch.setattr(nn.Module, "compile", compile_by_it)
    trainer = begin(compile=True, alignment_interval=1)
    rows, is_replayed = trainer.parts.batches[0]
    trainer.backward(rows)
    before = len(compiled)
    trainer.alignment.at_step(1)
    assert trainer.records.alignment and before and len(compiled) == before
    trainer.backward(rows[is_replayed])
    assert len(compiled) > before, "other sizes need no other code, so nothing was tested"


def test_records_come_at_their_steps(straight: Path) -> None:
    """Interval 8, windows of 7. The first window holds no step to measure, and the last batch nothing replayed."""
    records = [record for record in read_metrics(straight / "metrics.jsonl") if isinstance(record, AlignmentRecord)]
    steps = {at: [record.step for record in records if record.at == at] for at in ("step", "window", "interpolated")}
    assert steps == {
        "step": [8, 16, 24, 32],
        "window": [14, 21, 28, 35],
        "interpolated": [14, 21, 28, 35],
    }
    assert [record.step for record in records] == sorted(record.step for record in records)
    assert all(-1 <= cosine <= 1 for record in records for cosine in record.alignment.values())
    assert records[-2].alignment != records[-1].alignment


def test_a_stage_that_replays_nothing_measures_nothing(english: Stage, root: Path, tmp_path: Path) -> None:
    spec = train_spec(2, "fr", past=["en"], mer=Mer(interval=7, step_size=0.5, moments="keep"), alignment_interval=1)
    replace(english.with_inputs(parent=root / "en"), spec=spec).train(tmp_path / "run")
    assert "alignment" not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (1, ["block 1"]),
        (3, ["block 1", "block 2", "block 3"]),
        (6, ["block 1", "blocks 2-3", "block 4", "blocks 5-6"]),
        (8, ["blocks 1-2", "blocks 3-4", "blocks 5-6", "blocks 7-8"]),
    ],
)
@pytest.mark.parametrize("tied", [False, True])
def test_groups_share_out_all_weights_but_the_last_norm(layers: int, names: list[str], tied: bool) -> None:
    config = LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=2, head_dim=4, max_position_embeddings=8, rms_norm_eps=1e-6, rope_theta=1e4,
        tie_word_embeddings=tied,
    )  # fmt: skip
    model = Llama(config)
    groups = weight_groups(model)
    assert list(groups) == ["embedding", *names, *([] if tied else ["head"])]
    shared = [id(weight) for weights in groups.values() for weight in weights]
    others = {name for name, weight in model.named_parameters() if id(weight) not in shared}
    assert len(shared) == len(set(shared)) and others == {"model.norm.weight"}


def test_a_line_is_json(straight: Path) -> None:
    for line in (straight / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
