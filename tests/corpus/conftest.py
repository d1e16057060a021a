"""A corpus stage in the test's own folder."""

from pathlib import Path

import pytest
from support.corpus_stage import CorpusStage


@pytest.fixture
def stage(tmp_path: Path) -> CorpusStage:
    return CorpusStage(tmp_path)
