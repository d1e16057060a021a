"""Inputs of the benchmarks of training: shards of noise, a tokenizer of numbered words, default lineages."""

import json
import os
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from palimpsest.artifact import write_manifest
from palimpsest.experiment.build_specs import data_fingerprints, model_spec, pool_spec
from palimpsest.experiment.inventory import Inventory
from palimpsest.experiment.lineage import Lineage, lineages
from palimpsest.experiment.spec_files import write_spec
from palimpsest.model.hf_checkpoint import random_llama
from palimpsest.model.llama_config import llama_config
from palimpsest.params import parse
from palimpsest.replay.build_pool import build_pool
from palimpsest.settings.model import Model
from palimpsest.specs.training import RandomModel
from palimpsest.tokens.megatron import ShardWriter
from palimpsest.train.init_model import init_model

_DOCUMENT = 1_000_000  # tokens
_HELD_OUT = 10_000
LANGUAGES = ("en", "fr")


def lineage(arm: str, **sections: dict[str, Any]) -> Lineage:
    """The last checkpoint of an arm over two languages, with the params' defaults and these sections."""
    values = {
        "languages": list(LANGUAGES),
        "arms": [arm],
        "corpus": {"sources": {language: {"kind": "sample"} for language in LANGUAGES}},
        **sections,
    }
    params = parse(values, "benchmark")
    data = data_fingerprints(params, {language: Inventory() for language in LANGUAGES})
    return lineages(params, data)[arm][0]


def random_model(model: Model, context_length: int, vocabulary: int) -> Any:
    """A Llama of transformers with random weights."""
    shape = model_spec(model)
    assert isinstance(shape, RandomModel)
    return random_llama(llama_config(shape, context_length=context_length, vocab_size=vocabulary), 0, 0)


def token_folder(folder: Path, gigabytes: float, vocabulary: int) -> Path:
    """A data/tokens/{language} of int32 noise, and one held-out document."""
    rng = np.random.default_rng(0)
    documents = max(2, int(gigabytes * 1e9 / 4 / _DOCUMENT))
    with ShardWriter(folder / "train-given-00000", "int32") as shard:
        for _ in range(documents):
            shard.add(rng.integers(0, vocabulary, _DOCUMENT, dtype=np.int32))
    with ShardWriter(folder / "validation-given-00000", "int32") as shard:
        shard.add(np.append(rng.integers(1, vocabulary, _HELD_OUT, dtype=np.int32), 0))
    return close(folder, vocabulary)


def close(folder: Path, vocabulary: int) -> Path:
    """Write the manifest of a folder of shards, without hashes: it may be 200 GB of zeros, and nothing checks it."""
    with patch("palimpsest.artifact.file_digest", lambda path: path.name):
        write_manifest(
            folder,
            stage="tokens",
            params={"dtype": "int32", "end_of_text": 0, "vocab_size": vocabulary},
            inputs={},
            files=sorted(folder.iterdir()),
            counts={"train": {}, "validation": {}},
        )
    return folder


def tokenizer(folder: Path, vocabulary: int) -> Path:
    """A data/tokenizer of numbered words."""
    folder.mkdir()
    words = {"<|endoftext|>": 0} | {f"w{entry}": entry for entry in range(1, vocabulary)}
    Tokenizer(WordLevel(words, unk_token="<|endoftext|>")).save(str(folder / "tokenizer.json"))
    np.save(folder / "token_bytes.npy", np.ones(vocabulary, np.int32))
    files = [folder / "tokenizer.json", folder / "token_bytes.npy"]
    counts: dict[str, Any] = {"vocab_size": vocabulary, "end_of_text": 0, "fertility": {}}
    write_manifest(folder, stage="tokenizer", params={}, inputs={}, files=files, counts=counts)
    return folder


def drop(folder: Path) -> None:
    """Evict the shards from the page cache."""
    for path in folder.rglob("*.bin"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touch(folder: Path) -> None:
    """Read the shards, so that they are in the page cache."""
    for path in folder.rglob("*.bin"):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def prepare(folder: Path, stage: Lineage, tokens: dict[str, Path], vocabulary: int) -> list[str]:
    """Build what a stage reads besides its tokens in ``folder``, unless it exists; the arguments that train it."""
    if not (folder / "tokenizer").exists():
        root = next(iter(stage))
        init_model(root.initial, tokenizer(folder / "tokenizer", vocabulary), folder / "init")
    spec = write_spec("train", stage.training, folder)
    arguments = [
        "train", "--spec", str(folder / f"{spec}.json"), "--parent", str(folder / "init"),
        "--tokens", *map(str, tokens.values()), "--tokenizer", str(folder / "tokenizer"),
    ]  # fmt: skip
    if stage.replays:
        build_pool(pool_spec(stage.training), {past: tokens[past] for past in stage.past}, folder / "pool")
        arguments += ["--pool", str(folder / "pool")]
    return arguments


# Code before a program that appends the end time of every optimiser step to ``ends`` and prints them.
PRELUDE = """
import json, sys, time
import torch
ends = []
"""
# Trains through the command line.
OURS = """
from palimpsest.cli import main
from palimpsest.train.optimizer import AdamW
step = AdamW.step
def timed_step(optimizer):
    step(optimizer)
    ends.append(time.perf_counter())
AdamW.step = timed_step
code = main(sys.argv[1:])
print(json.dumps(ends))
sys.exit(code)
"""


def seconds_a_step(program: str, arguments: list[str], warm: int) -> float:
    """The median of ``step_seconds``."""
    return statistics.median(step_seconds(program, arguments, warm))


def step_seconds(program: str, arguments: list[str], warm: int) -> list[float]:
    """The seconds of each step after the first ``warm`` ones, of a process that runs ``program``."""
    done = subprocess.run([sys.executable, "-c", PRELUDE + program, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    ends = json.loads(done.stdout.splitlines()[-1])[warm - 1 :]
    return [end - begin for begin, end in pairwise(ends)]
