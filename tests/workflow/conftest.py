"""A clone of the project with params that take a minute, and the two tools run in it as a user would."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SMALL = {
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


class Project:
    """A checkout; every command runs in it with git and DVC kept to it."""

    small, root = SMALL, ROOT

    def __init__(self, folder):
        self.folder = folder

    def start(self, *command):
        """A process whose standard output and error come together."""
        environment = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder.parent), "CUDA_VISIBLE_DEVICES": "",
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
            "DVC_SITE_CACHE_DIR": str(self.folder.parent / "dvc-site"),
        }  # fmt: skip
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *command, check=True):
        """What it says, once it has ended."""
        with self.start(*command) as process:
            said = process.communicate()[0]
        if check and process.returncode:
            pytest.fail(f"{' '.join(command)} exited with {process.returncode}:\n{said[-6000:]}")
        return said

    def params(self, **changes):
        (self.folder / "params.yaml").write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))

    def commit(self, message):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def would_run(self, *arguments):
        """What ``snakemake -n`` says: rule → jobs; empty when there is nothing to do."""
        said = self.run("snakemake", "-n", *arguments)
        table = re.search(r"^job\s+count\n[- ]+\n(.*?)\n\n", said, re.DOTALL | re.MULTILINE)
        if not table:
            assert "Nothing to be done" in said, said
            return {}
        jobs = {row.split()[0]: int(row.split()[1]) for row in table[1].splitlines()}
        return {rule: count for rule, count in jobs.items() if rule not in ("all", "total")}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A fresh repository of the project's files as they are now, committed or not."""
    folder = tmp_path_factory.mktemp("project") / "palimpsest"
    folder.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split():
        if (ROOT / name).is_file() and not name.startswith(("src/", "tests/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    made = Project(folder)
    made.run("git", "init", "-q")
    made.params()
    made.commit("params")
    return made


@pytest.fixture
def elsewhere(project, tmp_path):
    """Runs Snakemake in an empty folder with other params."""

    def run(cores, params):
        (tmp_path / "given.yaml").write_text(yaml.safe_dump(params))
        given = ("--directory", str(tmp_path), "--configfile", str(tmp_path / "given.yaml"))
        project.run("snakemake", "--cores", cores, *given)
        return tmp_path

    return run
