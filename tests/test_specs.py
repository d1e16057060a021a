"""Specs of a whole experiment: they survive their files, and no path on this machine is in a fingerprint."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimpsest import codec
from palimpsest.artifact import canonical_json
from palimpsest.experiment.experiment import Experiment
from palimpsest.experiment.spec_files import write_spec
from palimpsest.settings.base import COMPUTED, DOC, Settings
from palimpsest.settings.params import Params

TOKENIZER = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": []}


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """An experiment in which everything that can be a file of the user's is one."""
    home = tmp_path / "home"
    (home / "model").mkdir(parents=True)
    (home / "model" / "config.json").write_text("{}")
    (home / "model" / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (home / "model" / "model.safetensors").write_bytes(b"weights")
    (home / "dataset" / "data").mkdir(parents=True)
    (home / "dataset" / "data" / "a.parquet").write_bytes(b"rows")
    (home / "text.jsonl").write_text('{"text": "words"}\n')
    (home / "crawl.warc.gz").write_bytes(b"pages")
    (home / "test.jsonl").write_text('{"question": "words"}\n')
    values = {
        "languages": ["en", "fr", "de", "ar"],
        "arms": ["sequential", "replay", "mer", "joint"],
        "corpus": {
            "sources": {
                "en": {"kind": "local", "path": str(home / "text.jsonl")},
                "fr": {"kind": "hf", "dataset": str(home / "dataset")},
                "de": {"kind": "warc", "path": str(home / "crawl.warc.gz")},
                "ar": {"kind": "sample"},
            },
            "decontamination": {"paths": [str(home / "test.jsonl")]},
        },
        "tokenizer": {"path": str(home / "model" / "tokenizer.json")},
        "model": {"path": str(home / "model")},
        "evaluate": {"task_data": str(home)},
        "train": {"checkpoint_interval": 7, "loggers": ["tensorboard"]},
        "sweep": {"replay.rate": [0.1, 0.5]},
    }
    return Experiment(values, tmp_path / "inventory.json")


def specs(experiment: Experiment) -> Iterator[tuple[str, Any]]:
    """Stage and spec, of every job."""
    for language in experiment.params.languages:
        yield "raw", experiment.raw(language)
        yield "corpus", experiment.corpus(language)
        yield "tokens", experiment.tokens(language)
    yield "tokenizer", experiment.tokenizer
    for path, lineage in experiment.lineages.items():
        yield "checkpoint", lineage.spec
        if lineage.replays:
            yield "pool", experiment.pool(path)
    yield "evaluation", experiment.evaluation
    yield "tasks", experiment.tasks
    yield "gather", experiment.gather
    yield "sweep", experiment.sweep_results


def test_every_spec_reads_back_from_its_file(experiment: Experiment, tmp_path: Path) -> None:
    for stage, spec in specs(experiment):
        name = write_spec(stage, spec, tmp_path / "specs")
        assert codec.read(type(spec), tmp_path / "specs" / f"{name}.json") == spec


def test_no_path_on_this_machine_is_in_a_fingerprint(experiment: Experiment, tmp_path: Path) -> None:
    for stage, spec in specs(experiment):
        assert str(tmp_path).encode() not in canonical_json(codec.fingerprint_fields(spec)), stage
    # They are in the specs, or the stages could not read the files.
    for stage in ("raw", "corpus", "tokenizer", "checkpoint"):
        encoded = [canonical_json(codec.encode(spec)) for name, spec in specs(experiment) if name == stage]
        assert any(str(tmp_path).encode() in one for one in encoded), stage


def test_an_option_that_shapes_nothing_changes_the_file_and_not_its_name(
    experiment: Experiment, tmp_path: Path
) -> None:
    spec = next(lineage.training for lineage in experiment.lineages.values() if lineage.parent)
    edited = dataclasses.replace(spec, train=dataclasses.replace(spec.train, checkpoint_interval=8))
    slower = dataclasses.replace(spec, train=dataclasses.replace(spec.train, learning_rate=5e-4))
    names = [write_spec("train", each, tmp_path) for each in (spec, edited, slower)]
    assert names[0] == names[1] != names[2]
    assert json.loads((tmp_path / f"{names[0]}.json").read_text())["train"]["checkpoint_interval"] == 8


def sections(section: type[Settings], prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every field of params.yaml that is not itself a section, by dotted key."""
    annotations = typing.get_type_hints(section)
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        nested = [
            option
            for option in (annotations[field.name], *typing.get_args(annotations[field.name]))
            if isinstance(option, type) and issubclass(option, Settings)
        ]
        if nested:
            yield from sections(nested[0], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def test_every_key_says_what_it_means() -> None:
    for key, field in sections(Params):
        assert field.metadata.get(DOC), key


def test_what_params_cannot_set_shapes_nothing() -> None:
    computed = [(key, field) for key, field in sections(Params) if field.metadata.get(COMPUTED)]
    assert [key for key, _ in computed] == ["corpus.cleaning"]
    assert not any(codec.is_in_fingerprint(field) for _, field in computed)
