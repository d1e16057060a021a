"""The default params, whole: forgetting that replay removes."""

import json

import pytest
import yaml

pytestmark = pytest.mark.slow


def test_french_training_makes_english_forgotten_and_replay_removes_most_of_it(project, elsewhere):
    """The default params on the sample corpus, two languages and two arms of them."""
    defaults = yaml.safe_load((project.root / "params.yaml").read_text())
    folder = elsewhere("2", defaults | {"languages": ["en", "fr"], "arms": ["sequential", "replay"]})
    arms = json.loads((folder / "results" / "eval_all.json").read_text())["arms"]
    forgotten = {arm: arms[arm]["forgetting"]["en"]["mean"] for arm in arms}
    assert forgotten["sequential"] > 1
    assert forgotten["replay"] < 0.3 * forgotten["sequential"]
    assert arms["replay"]["tokens"]["replayed"] == 533 * 128  # of 1,600 new sequences: ⌊(⌊1599/0.75⌋ + 1) · 0.25⌋
    assert arms["sequential"]["tokens"] == {"new": 3200 * 128, "replayed": 0, "total": 3200 * 128}
