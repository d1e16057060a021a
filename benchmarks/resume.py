"""Resuming against starting: seconds from the start of the process to the end of its first optimiser step.

The data are virtual: 10^11 tokens a language in sparse files of 10^9, as many as the paper's stages have, so that any
cost per sequence or per finished step would show. The resumed run is in the middle of its stage. Fresh and resumed runs
alternate; the ratio is that of the medians.
"""

import argparse
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import conclude
from benchmarks.training_data import LANGUAGES, close, lineage, prepare
from palimpsest.artifact import read_json, write_json
from palimpsest.tokens.megatron import MAGIC, VERSION, ShardWriter, shard_files

_TOKENS, _SHARD, _VOCABULARY = 10**11, 10**9, 4096
_BATCH, _CONTEXT = 2, 2048

# Trains through the command line until a step is done and, on request, a checkpoint exists; prints when the step ended.
_RUN = """
import os, sys, time
from pathlib import Path
from palimpsest.cli import main
from palimpsest.train.optimizer import AdamW
out, until = Path(sys.argv[1]), sys.argv[2]
step = AdamW.step
def timed_step(optimizer):
    step(optimizer)
    if until == "step" or any(out.glob("checkpoint-*/state.json")):
        print(time.monotonic(), flush=True)
        os._exit(0)
AdamW.step = timed_step
sys.exit(main(sys.argv[3:]))
"""


def main() -> None:
    """Print the seconds of each run, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = _prepare(folder, options.preset)
        _seconds(folder / "begun", "checkpoint", arguments)
        _move_to_the_middle(folder / "begun")
        pairs = [
            (_fresh(folder / f"fresh-{n}", arguments), _resumed(folder, n, arguments)) for n in range(options.repeats)
        ]
    fresh, resumed = zip(*pairs, strict=True)
    for kind, seconds in (("fresh", fresh), ("resumed", resumed)):
        print(f"{kind}: {', '.join(f'{one:.2f}' for one in seconds)} s to the first step")
    ratio = statistics.median(resumed) / statistics.median(fresh)
    peer = f"a fresh start of the same stage, {_TOKENS:.0e} virtual tokens a language, preset {options.preset}"
    conclude("resume", peer, options.repeats, {"start_ratio": ratio})


def _prepare(folder: Path, preset: str) -> list[str]:
    """Everything that the second stage of a MER lineage reads; the arguments of its training."""
    train = {
        "steps": _TOKENS // _CONTEXT // _BATCH,
        "batch_size": _BATCH,
        "context_length": _CONTEXT,
        "checkpoint_interval": 2,
    }
    last = lineage("mer", model={"preset": preset}, tokenizer={"vocab_size": _VOCABULARY}, train=train)
    tokens = {language: _virtual(folder / language) for language in LANGUAGES}
    return prepare(folder, last, tokens, _VOCABULARY)


def _virtual(folder: Path) -> Path:
    """A tokens folder of zeros, as sparse files."""
    folder.mkdir()
    one_document = struct.pack("<9sQBQQiqqq", MAGIC, VERSION, 4, 1, 2, _SHARD, 0, 0, 1)
    for number in range(_TOKENS // _SHARD):
        binary, index = shard_files(folder / f"train-given-{number:05}")
        with binary.open("wb") as file:
            file.truncate(4 * _SHARD)
        index.write_bytes(one_document)
    with ShardWriter(folder / "validation-given-00000", "int32") as shard:
        shard.add(np.zeros(_CONTEXT, np.int32))
    return close(folder, _VOCABULARY)


def _move_to_the_middle(folder: Path) -> None:
    """Resuming costs the same at every step; this one is far from both ends."""
    (state,) = folder.glob("checkpoint-*/state.json")
    middle = _TOKENS // _CONTEXT // _BATCH // 2
    write_json(state, read_json(state) | {"step": middle})
    state.parent.rename(folder / f"checkpoint-{middle:08d}")


def _fresh(out: Path, arguments: list[str]) -> float:
    return _seconds(out, "step", arguments)


def _resumed(folder: Path, number: int, arguments: list[str]) -> float:
    shutil.copytree(folder / "begun", folder / f"resumed-{number}")
    return _seconds(folder / f"resumed-{number}", "step", arguments)


def _seconds(out: Path, until: str, arguments: list[str]) -> float:
    command = [sys.executable, "-c", _RUN, str(out), until, *arguments, "--out", str(out)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.splitlines()[-1]) - began


if __name__ == "__main__":
    main()
