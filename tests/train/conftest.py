"""A model after its first stage, and a second stage with replay and Reptile."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.training import REPLAY, Stage, train_spec, write_initial_model, write_pool

from palimpsest.settings.replay import Mer
from palimpsest.train.training_parts import Inputs


@pytest.fixture(scope="session")
def root(tokens: dict[str, Path], tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the initial model, ``init``, and the one after English, ``en``."""
    folder = tmp_path_factory.mktemp("runs")
    write_initial_model(folder / "init", tokenizer)
    inputs = Inputs(parent=folder / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    Stage(train_spec(1, "en"), inputs).train(folder / "en")
    return folder


@pytest.fixture(scope="session")
def english(root: Path, tokens: dict[str, Path], tokenizer: Path) -> Stage:
    """The first stage."""
    inputs = Inputs(parent=root / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    return Stage(train_spec(1, "en"), inputs)


@pytest.fixture(scope="session")
def mer(root: Path, tokens: dict[str, Path], tokenizer: Path) -> Stage:
    """A stage with replay and Reptile, in windows of 7 steps, so that the last is a partial one.

    Alignment is measured at steps 8, 16, 24 and 32, and so where windows end at 14, 21, 28 and 35.
    """
    windows = Mer(interval=7, step_size=0.5, moments="keep")
    spec = train_spec(2, "fr", past=["en"], replay=REPLAY, mer=windows, alignment_interval=8)
    pool = write_pool(spec, tokens, root / "pool")
    return Stage(spec, Inputs(parent=root / "en", tokenizer=tokenizer, tokens=tokens, pool=pool))


@pytest.fixture(scope="session")
def straight(root: Path, mer: Stage) -> Path:
    """The finished run of ``mer``, trained without interruption."""
    mer.train(root / "straight")
    return root / "straight"
