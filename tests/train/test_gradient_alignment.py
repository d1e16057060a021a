"""The cosine of the gradients of new and replayed sequences: beside autograd by the sequence, and leaving no trace."""

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from palimpsest.model.hf_checkpoint import load_model
from palimpsest.train.distributed.process_group import Ranks
from palimpsest.train.gradient_alignment import Alignment, groups
from palimpsest.train.metrics_log import read as read_metrics
from palimpsest.train.reptile import Reptile
from palimpsest.train.spike_guard import Guard
from palimpsest.train.trainer import Inputs, Stage, train
from palimpsest.train.wrap.training_model import document_positions


class Lines(list):
    def write(self, **line):
        self.append(line)


def changed(mer, **settings):
    asked, inputs = mer
    return asked | {"train": asked["train"] | settings}, inputs


@pytest.fixture
def begin(mer, tmp_path):
    """A stage that is ready for its first step, and writes its measurements to a list."""

    def make(**settings):
        asked, inputs = changed(mer, **settings)
        stage = Stage(asked, inputs, tmp_path, {}, Ranks(1), 1, "stop")
        stage.log, stage.guard = Lines(), Guard(None, None, [])
        stage._restore(discard_checkpoints=False)
        stage.network.model.train()
        stage.alignment = Alignment(asked, stage.batches, stage.network, stage.ranks, stage._backward, stage.log)
        return stage

    return make


def weights_of(stage):
    return {name: weight.detach().clone() for weight, name in stage.network.names.items()}


def group_of(name):
    if found := re.match(r"model\.layers\.(\d+)\.", name):
        return f"block {int(found[1]) + 1}"
    return {"model.embed_tokens.weight": "embedding", "lm_head.weight": "head"}.get(name)


def twin(stage, weights, step, document_mask=False, precision="fp32", **_):
    """Cosines and norms by group, from the gradient of each sequence's loss on its own, summed in float64."""
    model = load_model(stage.inputs.parent, torch.device("cpu"))
    model.load_state_dict(weights, strict=False)
    rows, is_replayed = stage.batches[step - 1]
    sums = {}
    for row, old in zip(torch.from_numpy(rows), is_replayed, strict=True):
        positions = document_positions(row[None, :-1], 0) if document_mask else None
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(row[None, :-1], position_ids=positions, use_cache=False).logits[0].float()
        loss = F.cross_entropy(logits, row[1:])
        names, tensors = zip(*model.named_parameters(), strict=True)
        for name, gradient in zip(names, torch.autograd.grad(loss, tensors), strict=True):
            for group in {"all", group_of(name)} - {None}:
                part = sums.setdefault((group, bool(old)), {})
                part[name] = part.get(name, 0) + gradient.double().numpy().ravel()
    found = {}
    for group in {group for group, _ in sums}:
        new, replayed = (
            np.concatenate(list(sums[group, old].values())) / (is_replayed == old).sum() for old in (False, True)
        )
        norms = np.linalg.norm(new), np.linalg.norm(replayed)
        found[group] = (new @ replayed / (norms[0] * norms[1]), *norms)
    return found


def measured(line):
    return {
        group: (line["alignment"][group], line["norm_new"][group], line["norm_replayed"][group])
        for group in line["alignment"]
    }


def assert_equal(line, expected, **tolerance):
    found = measured(line)
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
def test_equals_the_gradients_of_each_sequence_on_its_own(begin, settings, tolerance):
    stage = begin(alignment_interval=1, **settings)
    for step in (1, 2):
        weights = weights_of(stage)
        stage._step(step - 1, *stage.batches[step - 1])
        assert [(line["step"], line["at"]) for line in stage.log] == [(step, "step")]
        assert_equal(stage.log.pop(), twin(stage, weights, step, **settings), **tolerance)


def test_before_and_after_an_interpolation_it_is_of_the_same_batch_at_those_weights(begin, monkeypatch):
    stage, seen = begin(alignment_interval=3), []
    after_step = Reptile.after_step

    def watched(*arguments, **options):
        seen.append(weights_of(stage))
        closed = after_step(*arguments, **options)
        seen.append(weights_of(stage))
        return closed

    monkeypatch.setattr(Reptile, "after_step", watched)
    for step in range(7):
        stage._step(step, *stage.batches[step])
    assert [(line["step"], line["at"]) for line in stage.log] == [
        (3, "step"), (6, "step"), (7, "window"), (7, "interpolated"),
    ]  # fmt: skip
    before, after = (twin(stage, weights, 7) for weights in seen[-2:])
    assert before["all"] != pytest.approx(after["all"], rel=1e-2)
    assert_equal(stage.log[2], before, rel=1e-4, abs=1e-5)
    assert_equal(stage.log[3], after, rel=1e-4, abs=1e-5)


def by_hand(rows, is_replayed):
    """The line of a model whose loss is weights · row, so that its gradient is the mean row; None without one."""
    blocks = [nn.Linear(3, 1, bias=False)]
    weight, log = blocks[0].weight, Lines()
    spec = {"replay": {"rate": "0.25"}, "mer": None, "train": {"alignment_interval": 1, "compile": False}}
    model = SimpleNamespace(
        base_model=SimpleNamespace(layers=blocks),
        get_input_embeddings=lambda: SimpleNamespace(weight=weight),
        get_output_embeddings=lambda: SimpleNamespace(weight=weight),
    )
    rows, is_replayed = np.array(rows, np.float32), np.array(is_replayed)

    def backward(part, sequences):
        (weight * part.sum(dim=0) / sequences).sum().backward()

    network = SimpleNamespace(names={weight: "weight"}, model=model)
    alignment = Alignment(spec, [(rows, is_replayed)], network, Ranks(1), backward, log)
    backward(torch.from_numpy(rows), len(rows))
    alignment.at_step(1)
    assert torch.equal(weight.grad, torch.from_numpy(rows).mean(dim=0, keepdim=True))
    return log[0] if log else None


@pytest.mark.parametrize(
    ("rows", "is_replayed", "cosine", "norms"),
    [
        ([[3, 4, 0], [3, 4, 0]], [False, True], 1, (5, 5)),
        ([[3, 4, 0], [-6, -8, 0]], [False, True], -1, (5, 10)),
        ([[1, 0, 0], [0, 0, 2], [3, 0, 0]], [False, True, False], 0, (2, 2)),
        ([[1, 1, 0], [1, 0, 0], [3, 0, 0], [-1, 0, 0]], [False, True, True, True], math.sqrt(0.5), (math.sqrt(2), 1)),
    ],
)
def test_closed_forms(rows, is_replayed, cosine, norms):
    line = by_hand(rows, is_replayed)
    for group in ("all", "embedding", "block 1"):
        assert measured(line)[group] == pytest.approx((cosine, *norms), abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "is_replayed"),
    [
        ([[1, 0, 0], [1, 0, 0]], [False, False]),
        ([[1, 0, 0], [1, 0, 0]], [True, True]),
        ([[1, 0, 0], [0, 0, 0]], [False, True]),
    ],
)
def test_where_there_is_no_cosine_no_line_is_written(rows, is_replayed):
    assert by_hand(rows, is_replayed) is None


def test_equal_new_and_replayed_sequences_have_cosine_1(begin):
    stage = begin(alignment_interval=1)
    rows, _ = stage.batches[0]
    batches = [(np.tile(rows[:1], (4, 1)), np.array([False, True, False, False]))]
    stage.alignment._batches = batches
    stage._backward(torch.from_numpy(batches[0][0]), 4)
    stage.alignment.at_step(1)
    for cosine, new, replayed in measured(stage.log[0]).values():
        assert cosine == pytest.approx(1, abs=1e-5)
        assert new == pytest.approx(replayed, rel=1e-4)


def test_a_measurement_leaves_gradients_weights_and_generator_to_the_bit(begin):
    """A pass draws a random number, as dropout would, which the training must not miss."""
    stage = begin(alignment_interval=1)
    stage.network.model.register_forward_pre_hook(lambda *_: torch.rand(1) and None)
    rows, is_replayed = stage.batches[0]
    stage._backward(torch.from_numpy(rows), len(is_replayed))
    held = [weight.grad for weight in stage.network.names]
    before = [gradient.clone() for gradient in held], list(weights_of(stage).values()), torch.get_rng_state()
    stage.alignment.at_step(1)
    assert all(weight.grad is gradient for weight, gradient in zip(stage.network.names, held, strict=True))
    after = held, list(weights_of(stage).values()), torch.get_rng_state()
    assert torch.equal(before[2], after[2])
    for one, other in zip(before[:2], after[:2], strict=True):
        assert all(map(torch.equal, one, other))
    stage._backward(torch.from_numpy(rows), len(is_replayed))
    assert not torch.equal(torch.get_rng_state(), after[2]), "a pass draws nothing, so nothing was tested"


def test_training_ends_with_the_same_bytes_measured_or_not(mer, tmp_path):
    for interval in (None, 2):
        train(*changed(mer, alignment_interval=interval), tmp_path / str(interval), 1000)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (tmp_path / "None" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    plain, lines = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("None", "2"))
    assert plain == [line for line in lines if "alignment" not in line] != lines


def test_nothing_is_compiled_for_the_sizes_of_a_measurement(begin, monkeypatch):
    """Code that serves other sizes too could take the place of the training's own, and takes long to make."""
    compiled = []

    def backend(graph, _inputs):
        compiled.append(graph)
        return graph.forward

    def compile_by_it(block, dynamic):
        block._compiled_call_impl = torch.compile(block._call_impl, backend=backend, dynamic=dynamic)

    monkeypatch.setattr(nn.Module, "compile", compile_by_it)
    stage = begin(compile=True, alignment_interval=1)
    rows, is_replayed = stage.batches[0]
    stage._backward(torch.from_numpy(rows), len(is_replayed))
    before = len(compiled)
    stage.alignment.at_step(1)
    assert stage.log and before and len(compiled) == before
    stage._backward(torch.from_numpy(rows[is_replayed]), 1)
    assert len(compiled) > before, "other sizes ask for no other code, so nothing was tested"


def test_lines_come_at_their_steps(straight):
    """Interval 8, windows of 7. The first window holds no step to measure, and the last batch nothing replayed."""
    lines = [line for line in read_metrics(straight / "metrics.jsonl") if "alignment" in line]
    steps = {at: [line["step"] for line in lines if line["at"] == at] for at in ("step", "window", "interpolated")}
    assert steps == {
        "step": [8, 16, 24, 32],
        "window": [14, 21, 28, 35],
        "interpolated": [14, 21, 28, 35],
    }
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert all(-1 <= cosine <= 1 for line in lines for cosine in line["alignment"].values())
    assert lines[-2]["alignment"] != lines[-1]["alignment"]


def test_a_stage_that_replays_nothing_measures_nothing(root, tokens, tokenizer, tmp_path, spec):
    inputs = Inputs(parent=root / "en", tokenizer=tokenizer, tokens=tokens, pool=None)
    asked = spec(2, "fr", past=["en"], mer={"interval": 7, "step_size": 0.5, "moments": "keep"}, alignment_interval=1)
    train(asked, inputs, tmp_path / "run", 1000)
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
def test_groups_share_out_all_weights_but_the_last_gain(layers, names, tied):
    config = LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=layers, num_attention_heads=2,
        tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    found = groups(model)
    assert list(found) == ["embedding", *names, *([] if tied else ["head"])]
    shared = [id(weight) for weights in found.values() for weight in weights]
    others = {name for name, weight in model.named_parameters() if id(weight) not in shared}
    assert len(shared) == len(set(shared)) and others == {"model.norm.weight"}


def test_a_line_is_json(straight):
    for line in (straight / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
