"""The disk that a plan asks for: counted, estimated, measured where files are here, refused where it is not free."""

import json
from collections import namedtuple

import pytest
import yaml

from palimpsest.cli import main
from palimpsest.plan.build import check, plan
from palimpsest.plan.table import table
from palimpsest.raw.sample import sample_documents


def test_checkpoints_under_way(planned, base):
    """Two kept and one being written, of the two largest trainings: 16 bytes a parameter with MER's anchor, else 12."""
    train = {"steps": 3000, "checkpoint_interval": 1000, "keep_checkpoints": 2}
    made = planned(base | {"train": train, "arms": ["replay", "mer"]}, gpus=2)
    parameters = made["models"][0]["parameters"]
    # four thousand steps with replay: three before the last
    assert made["disk"]["in_flight"] == 2 * 3 * 16 * parameters
    made = planned(base | {"train": train, "arms": ["sequential"]}, gpus=2)
    assert made["disk"]["in_flight"] == 2 * 2 * 12 * parameters


@pytest.mark.parametrize(("entries", "width"), [(65_535, 2), (65_536, 4)])
def test_shards_take_two_or_four_bytes_a_token(planned, entries, width, base):
    made = planned(base | {"tokenizer": {"vocab_size": entries}})
    text = 2000 * 1200
    for language in made["disk"]["languages"].values():
        assert language["shards"] == pytest.approx(width * 0.9 * text / 4.2, rel=1e-3)


@pytest.mark.parametrize("language", ["en", "fr", "de", "ar", "ja"])
def test_a_sample_document_is_about_as_long_as_taken_for(language):
    mean = sum(len(document.text.encode()) for document in sample_documents(language, 100, 1)) / 100
    assert 1200 / 1.5 < mean < 1200 * 1.5


def test_files_that_are_not_here_are_no_hindrance(planned, tmp_path, base):
    """Their text is taken to be what is needed; a tokenizer's entries must be told."""
    values = base | {
        "corpus": {"sources": base["corpus"]["sources"] | {"fr": {"kind": "local", "path": "nowhere/*.jsonl"}}},
        "tokenizer": {"path": "nowhere/tokenizer.json", "vocab_size": 5000},
    }
    made = planned(values)
    assert made["vocabulary"] == {"entries": 5000, "from": "tokenizer.vocab_size"}
    text = made["disk"]["languages"]["fr"]
    assert not text["bounded"] and text["raw"] == 0 and text["train_tokens"] == pytest.approx(text["needed"], rel=1e-3)
    assert "fr: not here, and without max_bytes" in table(made)
    values["tokenizer"].pop("vocab_size")
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump(values))
    assert main(["plan", str(tmp_path / "asked.yaml")]) == 1


def test_files_that_are_here_are_measured_and_a_tokenizer_is_read(planned, tokenizer, tmp_path, base):
    (tmp_path / "a.txt").write_bytes(b"x" * 42_000)
    (tmp_path / "b.txt").write_bytes(b"x" * 42_000)
    source = {"kind": "local", "path": str(tmp_path / "*.txt")}
    values = base | {
        "corpus": {"sources": base["corpus"]["sources"] | {"fr": source}, "validation_fraction": 0.5},
        "tokenizer": {"path": str(tokenizer / "tokenizer.json")},
    }
    made = planned(values)
    assert made["vocabulary"] == {"entries": 300, "from": "tokenizer.path"}
    text = made["disk"]["languages"]["fr"]
    assert text["bounded"] and text["train_tokens"] == 6000
    times = text["needed"] / 6000
    assert f"fr: less text than needed: a sequence is new {times:.1f} times" in table(made)
    source["max_bytes"] = 42_000
    assert planned(values)["disk"]["languages"]["fr"]["train_tokens"] == 3000


def test_a_plan_that_does_not_fit_the_disk_is_shown_and_refused(monkeypatch, tmp_path, capsys, base):
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump(base))
    arguments = ["plan", str(tmp_path / "asked.yaml"), "--disk", str(tmp_path)]
    assert main(arguments) == 0
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(50_000_000))
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 1
    said = capsys.readouterr()
    made = json.loads(said.out)
    assert said.err.startswith(
        f"error: {tmp_path}: the plan needs {made['disk']['total'] / 1e9:.1f} GB of disk, and 0.1 GB"
    )
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(made["disk"]["total"]))
    check(plan(tmp_path / "asked.yaml", "H100", None, 0.4, tmp_path))
