"""The memory that a job reserves, beside what the kernel counted."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.training import SHAPE, Stage, train_spec

from palimpsest.errors import ArtifactError
from palimpsest.model import held_out_loss
from palimpsest.model.hf_checkpoint import random_llama, save_model
from palimpsest.model.llama_config import llama_config
from palimpsest.plan import job_memory
from palimpsest.plan.job_memory import evaluation_mb, tasks_mb, training_mb
from palimpsest.settings.replay import Mer
from palimpsest.settings.training import Train
from palimpsest.specs.training import FolderModel, InitSpec
from palimpsest.train.init_model import init_model
from palimpsest.train.training_parts import Inputs

Measure = Callable[..., tuple[float, float]]
# In KiB. VmHWM begins with the program; ru_maxrss would begin with what the process of the tests held at the fork.
PEAK = """
import sys
from pathlib import Path
from palimpsest.cli import main
code = main(sys.argv[1:])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
sys.exit(code)
"""


@pytest.fixture(scope="module")
def measure(tokens: dict[str, Path], tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """MB (10^6 bytes) of a short stage that saves a checkpoint after each step: its peak, and what it reserves."""

    def run(shape: dict[str, Any], vocabulary: int | None = None, **settings: Any) -> tuple[float, float]:
        folder, model = tmp_path_factory.mktemp("memory"), replace(SHAPE, **shape)
        init = InitSpec(model=model, context_length=16, seed=0, data_fingerprint="")
        if vocabulary:
            config = llama_config(model, context_length=80, vocab_size=vocabulary)
            save_model(random_llama(config, 0, seed=0), folder / "elsewhere", tokenizer)
            shutil.copy(tokenizer / "tokenizer.json", folder / "elsewhere")
            init = replace(init, model=FolderModel(path=str(folder / "elsewhere"), content=""))
        init_model(init, tokenizer, folder / "init")
        spec = train_spec(1, "en", mer=Mer(interval=2, step_size=0.5), checkpoint_interval=1, **settings)
        spec = replace(spec, new=(replace(spec.new[0], sequences=3 * spec.train.batch_size),))
        inputs = Inputs(parent=folder / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
        python, _module, _cli, *arguments = Stage(spec, inputs).command(folder / "run")
        done = subprocess.run([python, "-c", PEAK, *arguments], check=True, capture_output=True, text=True)
        return int(done.stdout) * 1024 / 1e6, training_mb(folder / "init", False, spec.train)

    return run


@pytest.fixture(scope="module")
def base(measure: Measure) -> tuple[float, float]:
    """Of a stage so small that it shows what every process has."""
    return measure({})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        # 21 million parameters, and 2,000 tokens at once through 8 blocks.
        ({"width": 512, "heads": 8, "layers": 8, "ffn": 1024}, {"batch_size": 25, "context_length": 80}),
        # MLPs sixteen times as wide as the rest, 8,000 tokens.
        ({"width": 64, "layers": 8, "ffn": 1024}, {"batch_size": 100, "context_length": 80}),
        # 256 tokens of held-out windows at once, 200,000 logits each.
        ({"width": 8, "heads": 1}, {"vocabulary": 200_000, "batch_size": 16, "eval_tokens": 300}),
    ],
)
def test_a_training_reserves_what_it_takes_and_little_more(
    measure: Measure, base: tuple[float, float], shape: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Less what every process has."""
    assert base[0] < base[1] < 2100
    peak, reserved = (one - other for one, other in zip(measure(shape, **settings), base, strict=True))
    assert reserved > 500
    # Whether a checkpoint is still being written at the peak of the next step is up to the disk.
    assert 0.3 * reserved < peak < reserved, (peak, reserved)


def write_run(folder: Path, parameters: int, **config: int) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"counts": {"parameters": parameters}}))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A model of 10^9 parameters: 20 blocks 1,000 wide, which keep 40 and 24 × 3 kB for a token."""
    return write_run(
        tmp_path / "run", 10**9, num_hidden_layers=20, hidden_size=1000, intermediate_size=3000, vocab_size=50_000,
        max_position_embeddings=2000,
    )  # fmt: skip


def test_processes_slices_gpus_and_recomputation_are_counted(large: Path) -> None:
    """64 sequences of 500 tokens; 40 bytes a parameter for one process."""
    one_process = Train(processes=1, sharding="ddp", batch_size=64, context_length=500)
    block, between, logits = 112, 4, 16 * 200
    for settings, on_gpu, expected in (
        ({}, True, 2_000 + 16_000 + 4_000),
        ({"processes": 4}, True, 4 * (2_000 + 4_000) + 16_000),
        ({"processes": 4, "sharding": "fsdp"}, True, 4 * (2_000 + 4_000) + 16_000),
        ({}, False, 2_000 + 40_000 + 20 * (block + between) * 32),
        ({"micro_batch_size": 8}, False, 2_000 + 40_000 + 20 * (block + between) * 4),
        ({"micro_batch_size": 8, "activation_checkpointing": True}, False, 2_000 + 40_000 + logits + block * 4),
        ({"processes": 4}, False, 4 * (2_000 + 20_000 + 12_000 + 20 * (block + between) * 8) + 16_000),
        (
            {"processes": 4, "sharding": "fsdp"}, False,
            4 * (2_000 + 12_000 + 20 * (block + between) * 8) + 20_000 + 16_000,
        ),
    ):  # fmt: skip
        assert training_mb(large, on_gpu, replace(one_process, **settings)) == int(expected), settings


def test_logits_are_counted_as_far_as_they_are_in_memory_at_once(large: Path) -> None:
    """2^28 of 16 bytes; 2 × 500 × 50,000 of them; one window that has more; and all those of 8 prompts."""
    assert (
        job_memory._LOGITS == held_out_loss._MAX_LOGITS == 2**28
    )  # a copy: held_out_loss.py needs torch, rules must not
    for batch_size, length, logits in ((64, 500, 2**28), (2, 500, 50_000_000), (2, 10_000, 500_000_000)):
        expected = 2_000 + 4_000 + (16 * logits + batch_size * length * 112_000) // 10**6
        assert evaluation_mb(large, False, batch_size, length) == expected
    assert tasks_mb(large, False, 8) == 2_000 + 4_000 + 8 * 2000 * (16 * 50_000 + 112_000) // 10**6
    assert tasks_mb(large, True, 8) == evaluation_mb(large, True, 64, 500) == 6_000


def test_a_model_that_does_not_exist_yet_is_named_as_snakemake_names_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        evaluation_mb(Path("runs/none"), False, 1, 1)
    assert caught.value.filename == "runs/none/manifest.json"


def test_a_model_that_lacks_its_config_is_reported(large: Path) -> None:
    (large / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"run/config\.json: no such file"):
        evaluation_mb(large, False, 1, 1)
