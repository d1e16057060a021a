"""What the loop hands to each of its parts: Reptile, AdamW, the learning rate, signals, slices and the compiler."""

import math
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from palimpsest.train.metrics_log import read as read_metrics
from palimpsest.train.trainer import Inputs, train


@pytest.fixture
def french(root, tokens, tokenizer, spec, tmp_path):
    """Trains so many steps on French alone from the model after English; the folder."""

    def run(steps, stage=2, **settings):
        asked = spec(stage, "fr", **settings)
        asked["new"][0]["budget"] = steps * asked["train"]["batch_size"]
        inputs = Inputs(parent=root / "en", tokenizer=tokenizer, tokens=tokens, pool=None)
        train(asked, inputs, tmp_path / "run", 1000)
        return tmp_path / "run"

    return run


def steps_of(folder):
    return [line for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]


@pytest.fixture(scope="module")
def plain(mer, tmp_path_factory):
    """The final weights of the stage without Reptile."""
    asked, inputs = mer
    out = tmp_path_factory.mktemp("plain") / "run"
    train(asked | {"mer": None}, inputs, out, 1000)
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("step_size", [0.0, 0.25, 0.5])
def test_the_end_of_a_stage_closes_a_window_that_is_longer_than_it(mer, plain, tmp_path, step_size):
    asked, inputs = mer
    train(
        asked | {"mer": {"interval": 1000, "step_size": step_size, "moments": "keep"}}, inputs, tmp_path / "run", 1000
    )
    parent, found = (load_file(folder / "model.safetensors") for folder in (inputs.parent, tmp_path / "run"))
    assert found.keys() == parent.keys() == plain.keys()
    for name in found:
        expected = torch.lerp(parent[name], plain[name], step_size) if step_size else parent[name]
        assert torch.equal(found[name], expected), name


@pytest.mark.parametrize(("optimizer_state", "before"), [("carry", 30), ("reset", 0)])
def test_the_optimizer_goes_on_from_the_parents_or_begins_anew(french, optimizer_state, before):
    out = french(3, optimizer_state=optimizer_state)
    assert load_file(out / "optimizer.safetensors")["step"].tolist() == [before + 3]


PEAK, CONSTANT, FLOOR = 3e-3, 1e-3, 3e-4
LATE = {"constant_learning_rate": CONSTANT, "cooldown_fraction": 0.4, "decay_fraction": 0.25}


def half_cosine(share, above, below):
    return below + (above - below) * (1 + math.cos(math.pi * share)) / 2


def test_a_stage_takes_its_own_part_of_a_single_cosine(french):
    """The second third of a curve whose first tenth is the warm-up."""
    expected = [half_cosine(((20 + step) / 60 - 0.1) / 0.9, PEAK, FLOOR) for step in range(1, 21)]
    assert [line["learning_rate"] for line in steps_of(french(20, schedule="single_cosine"))] == pytest.approx(expected)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_infinite_schedule_knows_the_first_stage_and_the_last(french, stage):
    expected = [CONSTANT] * 20
    if stage == 1:
        expected[:2] = PEAK / 2, PEAK
        expected[2:10] = (half_cosine(step / 8, PEAK, CONSTANT) for step in range(1, 9))
    if stage == 3:
        expected[15:] = (FLOOR + (CONSTANT - FLOOR) * (1 - math.sqrt(step / 5)) for step in range(1, 6))
    lines = steps_of(french(20, stage, schedule="infinite", **LATE))
    assert [line["learning_rate"] for line in lines] == pytest.approx(expected)


def norm_of_first_moments(folder):
    moments = load_file(folder / "optimizer.safetensors").items()
    return math.sqrt(sum(values.double().square().sum() for name, values in moments if name.startswith("exp_avg.")))


def test_gradients_are_clipped_to_the_norm_that_is_asked_for(french):
    out = french(1, optimizer_state="reset", grad_clip=1e-6)
    assert steps_of(out)[0]["gradient_norm"] > 0.1
    assert 0.999e-7 < norm_of_first_moments(out) <= 1.0001e-7


def test_a_gradient_within_the_norm_is_left_as_it_is(french):
    out = french(1, optimizer_state="reset", grad_clip=1e9)
    norm = steps_of(out)[0]["gradient_norm"]
    # Neither the usual norm nor a threshold that is not used at all may do the same.
    assert norm > 1.5
    assert norm_of_first_moments(out) == pytest.approx(0.1 * norm, rel=1e-5)


def test_adamw_is_given_every_setting_and_decays_matrices_alone(root, french):
    """One step in float64, and so at the end of its schedule. Each setting moves weights by more than is rounded."""
    rate, beta1, beta2, epsilon, decay = 0.05, 0.8, 0.99, 1e-4, 0.3
    out = french(
        1, optimizer_state="reset", learning_rate=4 * rate, min_learning_rate=rate, grad_clip=0.01,
        beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=decay,
    )  # fmt: skip
    assert steps_of(out)[0]["learning_rate"] == pytest.approx(rate)
    assert norm_of_first_moments(out) == pytest.approx((1 - beta1) * 0.01, rel=1e-3)
    before, after = (load_file(folder / "model.safetensors") for folder in (root / "en", out))
    moments = load_file(out / "optimizer.safetensors")
    assert {weight.ndim for weight in before.values()} == {1, 2}
    for name, weight in before.items():
        gradient = moments[f"exp_avg.{name}"].double() / (1 - beta1)
        square = (1 - beta2) * gradient.square()
        torch.testing.assert_close(moments[f"exp_avg_sq.{name}"].double(), square, rtol=1e-5, atol=1e-20)
        kept = 1 - rate * decay if weight.ndim == 2 else 1
        expected = weight.double() * kept - rate * gradient / (gradient.abs() + epsilon)
        torch.testing.assert_close(after[name].double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_each_polite_signal_keeps_a_checkpoint(mer, straight, tmp_path, command, stop_at, same_files, number):
    out = tmp_path / "run"
    process = subprocess.Popen(command(mer, out, 3), stderr=subprocess.PIPE, text=True)
    assert stop_at(process, out, 6, lambda: process.send_signal(number)) == 1
    assert "error: stopped by a signal" in process.stderr.read()
    assert len(list(out.glob("checkpoint-*/state.json"))) == 1
    train(*mer, out, 1000)
    same_files(out, straight)


SLICES = """
import numpy as np
import torch
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

from palimpsest.model.hf_checkpoint import random_llama
from palimpsest.model.llama_config import llama_config
from palimpsest.train.distributed.process_group import Ranks
from palimpsest.train.reptile import Reptile
from palimpsest.train.distributed.sharding import spread, whole

ranks = Ranks(2)
shape = {"layers": 2, "width": 32, "heads": 2, "ffn": 48, "tie_embeddings": False}
for sharding, slices in (("fsdp", 2), ("ddp", 1)):
    model = random_llama(llama_config(shape, context_length=16, vocab_size=300), 0, seed=0)
    spread(model, ranks, sharding, "fp32")
    weights = list(model.parameters())
    reptile = Reptile(weights, 5, 0.3)
    for anchor, weight in zip(reptile.anchor, weights, strict=True):
        assert isinstance(anchor, DTensor) and slices * anchor.to_local().numel() == weight.numel()
    anchors = [whole(weight).detach().numpy().copy() for weight in weights]
    for window in range(3):
        with torch.no_grad():
            for place, weight in enumerate(weights):
                weight.add_(torch.sin(weight * 100 + place + window))
        before = [whole(weight).detach().numpy().copy() for weight in weights]
        with CommDebugMode() as sent:
            assert not reptile.after_step(5 * window + 4, last=False)
            assert reptile.after_step(5 * window + 5, last=False)
        assert sent.get_total_counts() == 0, sent.get_comm_counts()
        # The twin: in NumPy, of whole weights, to the bit. The difference is rounded, and then the sum with a product
        # that processors do not round before; float64 holds it whole.
        step_size = np.float64(np.float32(0.3))
        anchors = [(a + step_size * (w - a)).astype(np.float32) for a, w in zip(anchors, before, strict=True)]
        for weight, twin in zip(weights, anchors, strict=True):
            assert np.array_equal(whole(weight).detach().numpy(), twin)
    # The mode does count what is sent.
    with CommDebugMode() as sent:
        whole(weights[0])
    assert (sent.get_total_counts() > 0) == (slices > 1)
ranks.close()
"""


@pytest.mark.slow
def test_an_interpolation_of_slices_or_copies_sends_nothing_and_equals_its_numpy_twin(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "slices.py").write_text(SLICES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launch, tmp_path / "slices.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
