"""What a job is said to take of its machine, beside what the kernel says that it took."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest.plan.memory import evaluation_mb, training_mb
from palimpsest.train import initial

SMALL = {"layers": 2, "width": 32, "heads": 2, "ffn": 48, "tie_embeddings": False}
PEAK = """
import resource, sys
from palimpsest.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def took(tokens, tokenizer, spec, tmp_path_factory):
    """MB (10^6 bytes) of a short stage that keeps a checkpoint after each step: at its peak, and as was said."""

    def run(shape, **settings):
        folder = tmp_path_factory.mktemp("memory")
        initial.build({"model": SMALL | shape, "context_length": 16, "seed": 0}, tokenizer, folder / "init")
        asked = spec(1, "en", mer={"interval": 2, "step_size": 0.5, "moments": "keep"}, **settings)
        asked["new"][0]["budget"] = 3 * asked["train"]["batch_size"]
        command = [
            sys.executable, "-c", PEAK, "train", "--spec", json.dumps(asked), "--parent", folder / "init",
            "--tokens", *tokens.values(), "--tokenizer", tokenizer, "--out", folder / "run", "--checkpoint-interval", 1,
        ]  # fmt: skip
        done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
        return int(done.stdout) * 1024 / 1e6, training_mb(asked["train"], folder / "init", on_card=False)

    return run


@pytest.mark.slow
def test_a_training_is_said_to_take_what_it_takes_and_little_more(took):
    """21 million parameters, and 2,000 tokens at once through 8 blocks; less what every process has."""
    small = took({})
    assert small[0] < small[1] < 2100
    large = took({"width": 512, "heads": 8, "layers": 8, "ffn": 1024}, batch_size=25, context_length=80)
    peak, said = (one - other for one, other in zip(large, small, strict=True))
    assert said > 1500
    # Whether a checkpoint is still being written at the peak of the next step is up to the disk.
    assert 0.3 * said < peak < said, (peak, said)


def write_run(folder: Path, parameters, **config):
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"counts": {"parameters": parameters}}))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_processes_slices_cards_and_recomputation_are_counted(tmp_path):
    """A model of 10^9 parameters, 20 blocks 1,000 wide; 64 sequences of 500 tokens."""
    run = write_run(tmp_path / "run", 10**9, num_hidden_layers=20, hidden_size=1000, vocab_size=50_000)
    base = {"processes": 1, "sharding": "ddp", "micro_batch_size": None, "batch_size": 64, "context_length": 500}
    base |= {"activation_checkpointing": False}
    for settings, on_card, expected in (
        ({}, True, 2_000 + 40_000),
        ({"processes": 4}, True, 4 * (2_000 + 20_000 + 12_000) + 16_000),
        ({"processes": 4, "sharding": "fsdp"}, True, 4 * (2_000 + 12_000) + 20_000 + 16_000),
        ({}, False, 2_000 + 40_000 + 20 * 120 * 32),
        ({"micro_batch_size": 8}, False, 2_000 + 40_000 + 20 * 120 * 4),
        ({"micro_batch_size": 8, "activation_checkpointing": True}, False, 2_000 + 40_000 + (120 + 20 * 4) * 4),
        ({"processes": 4}, False, 4 * (2_000 + 20_000 + 12_000 + 20 * 120 * 8) + 16_000),
    ):
        assert training_mb(base | settings, run, on_card) == expected, settings
    # 2^28 logits of twelve bytes; 2 × 500 × 50,000 of them; and one window that has more.
    for batch_size, length, logits in ((64, 500, 2**28), (2, 500, 50_000_000), (2, 10_000, 500_000_000)):
        expected = 2_000 + 4_000 + (12 * logits + batch_size * length * 1000 * 120) // 10**6
        assert evaluation_mb(run, batch_size, length) == pytest.approx(expected, abs=1)


def test_a_model_that_is_not_there_yet_is_named_as_snakemake_names_its_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        evaluation_mb(Path("runs/none"), 1, 1)
    assert caught.value.filename == "runs/none/manifest.json"
