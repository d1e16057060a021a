"""The model card of a checkpoint, read back by the hub's own library."""

import json
import math
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from palimpsest.train.model_card import card, write_card

COUNTS = {"parameters": 12_345, "ledger": {"steps": 40, "flops": 7_654_321_000}}
INPUTS = {"parent": "ab" * 32, "replay": "cd" * 32, "tokens/en": "ef" * 32}
LOSSES = {"en": 2.5, "fr": 3.0, "de": 7.25}
NAME = "12" * 32
MER = {"interval": 7, "step_size": 0.5, "moments": "keep"}


@pytest.fixture
def third(spec):
    """A third stage at 25 %, after a second one at 50 %."""
    asked = spec(3, "de", past=["en", "fr"], replay={"rate": "0.25", "accounting": "add", "scope": "past"}, mer=MER)
    asked["past"][1]["rate"] = "0.5"
    return asked


def make(asked, losses=LOSSES):
    return card(asked, COUNTS, losses, INPUTS, NAME)


def test_the_front_matter_is_what_the_hub_expects(third):
    data = ModelCard(make(third)).data
    assert data.language == ["en", "fr", "de"]
    assert (data.to_dict()["library_name"], data.pipeline_tag) == ("transformers", "text-generation")
    assert (data.license, data.license_name) == ("other", "as-the-training-data")
    assert data.tags == ["continual-pretraining", "replay", "mer"]
    assert data.model_name == "palimpsest-en-fr-de-50-percent-and-25-percent-replay-mer-s0"
    found = {(result.dataset_name, result.metric_type): result.metric_value for result in data.eval_results}
    assert found["Held-out text, fr", "loss"] == 3.0
    assert found["Held-out text, de", "perplexity"] == pytest.approx(math.exp(7.25), abs=1e-3)
    assert {result.task_type for result in data.eval_results} == {"text-generation"} and len(found) == 6


def test_norwegian_stays_a_language(spec):
    assert ModelCard(make(spec(1, "no"), {"no": 1.0})).data.language == ["no"]


def test_a_training_that_went_wrong_has_a_card(third):
    found = ModelCard(make(third, LOSSES | {"de": 1e4})).data.eval_results
    assert math.inf in {result.metric_value for result in found}


def test_it_tells_every_stage_with_its_tokens(third, spec):
    """120 new sequences of 16 tokens a stage; at 50 % as many again, at 25 % a third of them (⌊159 · 0.25⌋ = 39)."""
    text = make(third)
    assert "| 1 | en | 1,920 | 0 | 0 % |" in text
    assert "| 2 | fr | 1,920 | 1,904 | 50 % |" in text
    assert "| 3 | de | 1,920 | 624 | 25 % |" in text
    assert "every k = 7 optimiser steps" in text and "ε = 0.5" in text and "added to the new ones" in text
    assert "| en | 1 | 2.5000 | 12.18 |" in text
    assert "Stage 3 of 3, seed 0" in text and NAME in text and all(digest in text for digest in INPUTS.values())
    plain = make(spec(1, "en"))
    assert "Reptile" not in plain and "Replay:" not in plain
    assert "| fr | not yet | 3.0000 | 20.09 |" in plain
    assert ModelCard(plain).data.language == ["en"]


def test_joint_and_reptile_alone(spec):
    asked = spec(1, ["en", "fr"])
    text = make(asked)
    assert "# Palimpsest: en + fr\n" in text and "| 1 | en, fr | 3,840 | 0 | 0 % |" in text
    reptile = ModelCard(make(spec(2, "fr", past=["en"], mer=MER)))
    assert reptile.data.tags == ["continual-pretraining", "reptile"]
    assert "# Palimpsest: en → fr, Reptile\n" in reptile.content


def test_the_card_of_a_real_run(straight, mer):
    """What the training writes: the last losses of its metrics, the hashes of its inputs; and its code runs."""
    asked, inputs = mer
    manifest = json.loads((straight / "manifest.json").read_text())
    assert "README.md" in manifest["files"]
    text = (straight / "README.md").read_text()
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    losses = next(line["validation"] for line in reversed(lines) if "validation" in line)
    digests = manifest["inputs"]
    name = json.loads((straight / "state.json").read_text())["fingerprint"]
    assert text == card(asked, manifest["counts"], losses, digests, name)
    found = {result.dataset_name: result.metric_value for result in ModelCard(text).data.eval_results}
    assert found.keys() == {"Held-out text, en", "Held-out text, fr"}
    assert str(straight) not in text and str(inputs.parent) not in text


def test_the_same_training_has_the_same_card(straight, mer, tmp_path):
    manifest = json.loads((straight / "manifest.json").read_text())
    (tmp_path / "metrics.jsonl").write_bytes((straight / "metrics.jsonl").read_bytes())
    name = json.loads((straight / "state.json").read_text())["fingerprint"]
    path = write_card(tmp_path, mer[0], manifest["counts"], dict(reversed(manifest["inputs"].items())), name)
    assert path == tmp_path / "README.md" and path.read_bytes() == (straight / "README.md").read_bytes()


def test_the_code_in_it_runs(straight, capsys, monkeypatch):
    text = Path(straight / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(straight)
    exec(code, {})
    assert capsys.readouterr().out.strip()
    assert AutoModelForCausalLM and AutoTokenizer  # imported above, so that the code's own import is quick
