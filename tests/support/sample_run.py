"""The sample run: the main job of params.yaml on the built-in corpus, whose table and weights are pinned.

After a change that is meant to change them, record them again, and put the table that this prints into the README::

    PYTHONPATH=tests python -m support.sample_run
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import xxhash

from palimpsest.artifact import write_json
from support.project import ROOT, Project, checkout

RECORD = ROOT / "tests" / "workflow" / "sample_run.json"
_FINGERPRINT = r"\.[0-9a-f]{8}$"


def run_sample(folder: Path) -> Project:
    """Run everything that params.yaml asks for in a new folder."""
    project = checkout(folder)
    project.run("snakemake", "--cores", "2")
    return project


def kind_of_machine() -> dict[str, str]:
    """What the bytes of trained weights depend on besides the code and the params."""
    info = dict(re.findall(r"^(\S[^\t]*)\t*: (.+)$", _cpu_info(), re.MULTILINE))
    model = (info.get(key, "unknown") for key in ("model name", "cpu family", "model"))
    return {
        "cpu": "{}, family {}, model {}".format(*model),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def weight_hashes(project: Project) -> dict[str, str]:
    """Lineage without fingerprints → XXH3-128 of its weights."""
    runs = project.folder / "runs"
    return {
        "/".join(re.sub(_FINGERPRINT, "", part) for part in path.parent.relative_to(runs).parts): xxhash.xxh3_128(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(runs.rglob("model.safetensors"))
    }


def table_in_readme() -> str:
    """The README's block that begins with the heads of the table's columns."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (table,) = (block for block in blocks if block.split()[:2] == ["final", "loss"])
    return table


def _cpu_info() -> str:
    """/proc/cpuinfo, empty on a system that has none."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def main() -> None:
    """Write the record, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        project = run_sample(Path(folder) / "project")
        record: dict[str, Any] = {"machine": kind_of_machine(), "weights": weight_hashes(project)}
        write_json(RECORD, record)
        sys.stdout.write(project.run("palimpsest", "table"))


if __name__ == "__main__":
    main()
