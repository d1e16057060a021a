"""Finished projects, each made once in a test run. A test that changes one takes a copy."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.once import once_per_run
from support.project import Project, checkout


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small job after ``dvc repro``, committed and tagged "first". To be read only."""

    def build(folder: Path) -> None:
        project = checkout(folder / "project")
        project.run("git", "init", "-q")
        project.write_params()
        project.commit("params")
        project.run("dvc", "repro")
        project.commit("first")
        project.run("git", "tag", "first")

    return Project(once_per_run(tmp_path_factory, "finished", build) / "project")


@pytest.fixture(scope="session")
def edited_project(finished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same after an edit of the replay rate, a plain ``snakemake``, ``dvc commit`` and a second commit. To be
    read only."""

    def build(folder: Path) -> None:
        project = finished_project.copy(folder / "project")
        project.write_params(replay={"rate": 0.5})
        project.run("snakemake", "--cores", "2")
        project.run("dvc", "commit", "-f")
        project.commit("second")

    return Project(once_per_run(tmp_path_factory, "edited", build) / "project")


@pytest.fixture
def project(finished_project: Project, tmp_path: Path) -> Project:
    """A copy of the finished project."""
    return finished_project.copy(tmp_path / "project")


@pytest.fixture
def edited_copy(edited_project: Project, tmp_path: Path) -> Project:
    """A copy of the edited project."""
    return edited_project.copy(tmp_path / "edited")
