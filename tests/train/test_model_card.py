"""The model card of a checkpoint, read back by the hub's own library."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard as ModelCardReader
from support.training import REPLAY, Stage, past_text, train_spec
from transformers import AutoModelForCausalLM, AutoTokenizer

from palimpsest.artifact import read_manifest
from palimpsest.replay.stage_ledger import StageLedger
from palimpsest.settings.replay import Mer, ReplayShare
from palimpsest.specs.training import TrainSpec
from palimpsest.train.metrics import ValidationRecord, read_metrics
from palimpsest.train.model_card import ModelCard, write_model_card
from palimpsest.train.run_counts import RunCounts, read_counts

LEDGER = StageLedger(
    steps=40, new_sequences=120, replayed_sequences=39, new_tokens=1920, replayed_tokens=624, total_tokens=2544,
    flops=7_654_321_000,
)  # fmt: skip
COUNTS = RunCounts(parameters=12_345, training_flops_per_token=3, ledger=LEDGER, skipped=0)
DIGESTS = {"parent": "ab" * 32, "replay": "cd" * 32, "tokens/en": "ef" * 32}
LOSSES = {"en": 2.5, "fr": 3.0, "de": 7.25}
FINGERPRINT = "12" * 32
MER = Mer(interval=7, step_size=0.5, moments="keep")


@pytest.fixture
def third() -> TrainSpec:
    """A third stage at 25 %, after a second one at 50 %."""
    spec = train_spec(3, "de", replay=REPLAY, mer=MER)
    return replace(spec, past=(past_text("en"), past_text("fr", ReplayShare(rate=Decimal("0.5")))))


def card(spec: TrainSpec, losses: Mapping[str, float] = LOSSES) -> str:
    return ModelCard(spec=spec, counts=COUNTS, validation=losses, input_digests=DIGESTS, fingerprint=FINGERPRINT).text


def hub_data(text: str) -> Any:
    """The front matter as the hub's library reads it."""
    return ModelCardReader(text).data


def test_the_front_matter_is_what_the_hub_expects(third: TrainSpec) -> None:
    data = hub_data(card(third))
    assert data.language == ["en", "fr", "de"]
    assert (data.to_dict()["library_name"], data.pipeline_tag) == ("transformers", "text-generation")
    assert (data.license, data.license_name) == ("other", "as-the-training-data")
    assert data.tags == ["continual-pretraining", "replay", "mer"]
    assert data.model_name == "palimpsest-en-fr-de-50-percent-and-25-percent-replay-mer-s0"
    found = {(result.dataset_name, result.metric_type): result.metric_value for result in data.eval_results}
    assert found["Held-out text, fr", "loss"] == 3.0
    assert found["Held-out text, de", "perplexity"] == pytest.approx(math.exp(7.25), abs=1e-3)
    assert {result.task_type for result in data.eval_results} == {"text-generation"} and len(found) == 6


def test_norwegian_stays_a_language() -> None:
    assert hub_data(card(train_spec(1, "no"), {"no": 1.0})).language == ["no"]


def test_a_training_that_diverged_has_a_card(third: TrainSpec) -> None:
    found = hub_data(card(third, LOSSES | {"de": 1e4})).eval_results
    assert math.inf in {result.metric_value for result in found}


def test_every_stage_is_listed_with_its_tokens(third: TrainSpec) -> None:
    """120 new sequences of 16 tokens a stage; at 50 % as many again, at 25 % a third of them (⌊159 · 0.25⌋ = 39)."""
    text = card(third)
    assert "| 1 | en | 1,920 | 0 | 0 % |" in text
    assert "| 2 | fr | 1,920 | 1,904 | 50 % |" in text
    assert "| 3 | de | 1,920 | 624 | 25 % |" in text
    assert "every k = 7 optimiser steps" in text and "ε = 0.5" in text and "added to the new ones" in text
    assert "| en | 1 | 2.5000 | 12.18 |" in text
    assert "Stage 3 of 3, seed 0" in text and FINGERPRINT in text and all(digest in text for digest in DIGESTS.values())
    plain = card(train_spec(1, "en"))
    assert "Reptile" not in plain and "Replay:" not in plain
    assert "| fr | not yet | 3.0000 | 20.09 |" in plain
    assert hub_data(plain).language == ["en"]


def test_joint_and_reptile_alone() -> None:
    text = card(train_spec(1, ["en", "fr"]))
    assert "# Palimpsest: en + fr\n" in text and "| 1 | en, fr | 3,840 | 0 | 0 % |" in text
    reptile = card(train_spec(2, "fr", past=["en"], mer=MER))
    assert hub_data(reptile).tags == ["continual-pretraining", "reptile"]
    assert "# Palimpsest: en → fr, Reptile\n" in reptile


def test_the_card_of_a_real_run(straight: Path, mer: Stage) -> None:
    """The last losses of its metrics, the hashes of its inputs."""
    manifest = read_manifest(straight, "run")
    assert "README.md" in manifest.files
    text = (straight / "README.md").read_text()
    points = [record for record in read_metrics(straight / "metrics.jsonl") if isinstance(record, ValidationRecord)]
    counts = read_counts(manifest)
    assert isinstance(counts, RunCounts)
    expected = ModelCard(
        spec=mer.spec, counts=counts, validation=points[-1].validation, input_digests=manifest.inputs,
        fingerprint=json.loads((straight / "state.json").read_text())["fingerprint"],
    )  # fmt: skip
    assert text == expected.text
    found = {result.dataset_name for result in hub_data(text).eval_results}
    assert found == {"Held-out text, en", "Held-out text, fr"}
    assert str(straight) not in text and str(mer.inputs.parent) not in text


def test_the_same_training_has_the_same_card(straight: Path, mer: Stage, tmp_path: Path) -> None:
    manifest = read_manifest(straight, "run")
    (tmp_path / "metrics.jsonl").write_bytes((straight / "metrics.jsonl").read_bytes())
    counts, fingerprint = read_counts(manifest), json.loads((straight / "state.json").read_text())["fingerprint"]
    assert isinstance(counts, RunCounts)
    path = write_model_card(tmp_path, mer.spec, counts, dict(reversed(manifest.inputs.items())), fingerprint)
    assert path == tmp_path / "README.md" and path.read_bytes() == (straight / "README.md").read_bytes()


def test_the_code_in_it_runs(
    straight: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(straight / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(straight)
    exec(code, {})
    assert capsys.readouterr().out.strip()
    assert AutoModelForCausalLM and AutoTokenizer  # imported above, so that the code's own import is quick
