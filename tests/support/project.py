"""A checkout of the project, and Snakemake, DVC and Git run in it as a user would."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent

# Every stage within a minute: two languages, two arms, a model of one layer.
SMALL_PARAMS: dict[str, Any] = {
    "languages": ["en", "fr"],
    "arms": ["sequential", "mer"],
    "seeds": [0],
    "corpus": {
        "sources": {name: {"kind": "sample", "documents": 150} for name in ("en", "fr")},
        "validation_fraction": 0.1,
    },
    "tokenizer": {"vocab_size": 400},
    "model": {"preset": "nano", "layers": 1, "width": 32, "heads": 2, "ffn": 48},
    "train": {"steps": 20, "batch_size": 4, "context_length": 32, "eval_interval": 10, "eval_tokens": 500},
    "replay": {"rate": 0.25},
    "mer": {"interval": 5, "step_size": 0.5},
    "evaluate": {"max_tokens": 1000},
    "sweep": {},
}


@dataclass(frozen=True)
class Project:
    """A folder with the project's files; commands run in it, cut off from the user's own Git and DVC settings."""

    folder: Path

    def start(self, *command: str, output: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command; its standard output and error go to ``output`` together."""
        environment = {
            "PATH": f"{_BIN}:/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder.parent), "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(ROOT / "src"),  # whichever checkout is installed
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
            "DVC_SITE_CACHE_DIR": str(self.folder.parent / "dvc-site"),
        }  # fmt: skip
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=output, stderr=subprocess.STDOUT
        )

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command to its end and return its output; a non-zero exit fails the test where ``check`` is set."""
        with self.start(*command) as process:
            output = process.communicate()[0]
        if check and process.returncode:
            pytest.fail(f"{' '.join(command)} exited with {process.returncode}:\n{output[-6000:]}")
        return output

    def write_params(self, **changes: Any) -> None:
        """Write a params.yaml of ``SMALL_PARAMS`` with some sections replaced."""
        (self.folder / "params.yaml").write_text(yaml.safe_dump(SMALL_PARAMS | changes, sort_keys=False))

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def would_run(self, *arguments: str) -> dict[str, int]:
        """The jobs that ``snakemake -n`` lists by rule; empty when there is nothing to do."""
        output = self.run("snakemake", "-n", *arguments)
        table = re.search(r"^job\s+count\n[- ]+\n(.*?)\n\n", output, re.DOTALL | re.MULTILINE)
        if not table:
            assert "Nothing to be done" in output, output
            return {}
        jobs = {row.split()[0]: int(row.split()[1]) for row in table[1].splitlines()}
        return {rule: count for rule, count in jobs.items() if rule not in ("all", "total")}

    def copy(self, folder: Path) -> Project:
        """Copy everything, with the files' times, to a folder that does not exist yet."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


def checkout(folder: Path) -> Project:
    """A new folder with the project's files as they are now, committed or not, without src and tests."""
    folder.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in listed.split("\0"):
        if (ROOT / name).is_file() and not name.startswith(("src/", "tests/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return Project(folder)
