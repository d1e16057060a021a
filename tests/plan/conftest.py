"""Plans of params that a test makes up."""

import pytest
import yaml

from palimpsest.plan.build import plan

SAMPLE = {"corpus": {"sources": {language: {"kind": "sample"} for language in ("en", "fr", "de")}}}


@pytest.fixture(scope="session")
def base():
    """Four arms over three languages of the sample corpus."""
    return {"languages": ["en", "fr", "de"], "arms": ["sequential", "replay", "mer", "joint"], **SAMPLE}


@pytest.fixture
def planned(tmp_path):
    """The plan of a params file with these contents."""

    def make(values, gpu="H100", gpus=None, mfu=0.4):
        file = tmp_path / "asked.yaml"
        file.write_text(yaml.safe_dump(values))
        return plan(file, gpu, gpus, mfu, tmp_path)

    return make
