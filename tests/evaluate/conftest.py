"""Folders that several tests read: a small checkpoint with its tokenizer and questions, and an evaluated project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import evaluated_project, small_checkpoint

from palimpsest.evaluate.gather_results import gather_results
from palimpsest.specs.evaluation import GatherSpec


@pytest.fixture(scope="session")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint.write_byte_level_tokenizer(tmp_path_factory.mktemp("byte-level") / "tokenizer")


@pytest.fixture(scope="session")
def checkpoint(byte_level: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint.write_checkpoint(tmp_path_factory.mktemp("runs") / "init", byte_level)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_checkpoint.write_raw_questions(tmp_path_factory.mktemp("raw"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder for evaluate.task_data."""
    small_checkpoint.write_jsonl_zst(tmp_path / "data" / "piqa.valid.jsonl.zst", small_checkpoint.PIQA)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def gathered_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluated project with its results gathered."""
    root = tmp_path_factory.mktemp("project")
    evaluated_project.write_evaluated_project(root)
    gather_results(GatherSpec(params=evaluated_project.PARAMS, arms=evaluated_project.ARMS), root)
    return root


@pytest.fixture(scope="session")
def eval_all(gathered_project: Path) -> Any:
    """The contents of its eval_all.json."""
    return json.loads((gathered_project / "results" / "eval_all.json").read_text())
