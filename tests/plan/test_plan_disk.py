"""The disk space of a plan: counted, estimated, measured if files exist, refused if it is not free."""

import json
from collections import namedtuple
from typing import Any

import pytest
import yaml
from support.plans import BASE, plan_of

from palimpsest.cli import main
from palimpsest.plan.build_plan import build_plan, check_disk_space
from palimpsest.plan.plan_table import format_plan
from palimpsest.plan.run_plan import Vocabulary
from palimpsest.raw.sample import sample_documents


def test_checkpoints_in_flight(tmp_path):
    """Two kept and one being written, of the two largest runs: 16 bytes per parameter with MER's anchor, else 12."""
    train = {"steps": 3000, "checkpoint_interval": 1000, "keep_checkpoints": 2}
    plan = plan_of(tmp_path, BASE | {"train": train, "arms": ["replay", "mer"]}, gpus=2)
    parameters = plan.models[0].parameters
    # four thousand steps with replay: three checkpoints before the final one
    assert plan.disk.in_flight == 2 * 3 * 16 * parameters
    plan = plan_of(tmp_path, BASE | {"train": train, "arms": ["sequential"]}, gpus=2)
    assert plan.disk.in_flight == 2 * 2 * 12 * parameters


@pytest.mark.parametrize(("entries", "width"), [(65_535, 2), (65_536, 4)])
def test_shards_take_two_or_four_bytes_per_token(tmp_path, entries, width):
    plan = plan_of(tmp_path, BASE | {"tokenizer": {"vocab_size": entries}})
    text = 2000 * 1200
    for language in plan.disk.languages.values():
        assert language.shards == pytest.approx(width * 0.9 * text / 4.2, rel=1e-3)


@pytest.mark.parametrize("language", ["en", "fr", "de", "ar", "ja"])
def test_a_sample_document_is_about_as_long_as_estimated(language):
    mean = sum(len(document.text.encode()) for document in sample_documents(language, 100, 1)) / 100
    assert 1200 / 1.5 < mean < 1200 * 1.5


def test_missing_files_can_be_planned(tmp_path):
    """Their text is assumed to be what is needed; the tokenizer's entries must be set."""
    values = BASE | {
        "corpus": {"sources": BASE["corpus"]["sources"] | {"fr": {"kind": "local", "path": "nowhere/*.jsonl"}}},
        "tokenizer": {"path": "nowhere/tokenizer.json", "vocab_size": 5000},
    }
    plan = plan_of(tmp_path, values)
    assert plan.vocabulary == Vocabulary(entries=5000, source="tokenizer.vocab_size")
    text = plan.disk.languages["fr"]
    assert not text.bounded and text.raw == 0 and text.train_tokens == pytest.approx(text.needed, rel=1e-3)
    assert "fr: not on this machine, and without max_bytes" in format_plan(plan)
    values["tokenizer"].pop("vocab_size")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert main(["plan", str(tmp_path / "params.yaml")]) == 1


def test_existing_files_are_measured_and_a_tokenizer_is_read(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_bytes(b"x" * 42_000)
    (tmp_path / "b.txt").write_bytes(b"x" * 42_000)
    source: dict[str, Any] = {"kind": "local", "path": str(tmp_path / "*.txt")}
    values = BASE | {
        "corpus": {"sources": BASE["corpus"]["sources"] | {"fr": source}, "validation_fraction": 0.5},
        "tokenizer": {"path": str(tokenizer / "tokenizer.json")},
    }
    plan = plan_of(tmp_path, values)
    assert plan.vocabulary == Vocabulary(entries=300, source="tokenizer.path")
    text = plan.disk.languages["fr"]
    assert text.bounded and text.train_tokens == 6000
    times = text.needed / 6000
    assert f"fr: less text than needed: a lineage reads each sequence {times:.1f} times" in format_plan(plan)
    source["max_bytes"] = 42_000
    assert plan_of(tmp_path, values).disk.languages["fr"].train_tokens == 3000


def test_a_plan_that_does_not_fit_the_disk_is_shown_and_refused(monkeypatch, tmp_path, capsys):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(BASE))
    arguments = ["plan", str(tmp_path / "params.yaml"), "--disk", str(tmp_path)]
    assert main(arguments) == 0
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(50_000_000))
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 1
    captured = capsys.readouterr()
    plan = json.loads(captured.out)
    assert captured.err.startswith(
        f"error: {tmp_path}: the plan needs {plan['disk']['total'] / 1e9:.1f} GB of disk, and 0.1 GB"
    )
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(plan["disk"]["total"]))
    check_disk_space(build_plan(tmp_path / "params.yaml", "H100", None, 0.4, tmp_path))
