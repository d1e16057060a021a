"""Every table of the report as CSV, from the contents of an eval_all.json."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from palimpsest.evaluate.tables import write_tables


def quantity(mean: float, sd: float | None = None) -> dict[str, Any]:
    return {"mean": mean, "sd": sd, "n": 2 if sd else 1}


def ledger(number: int) -> dict[str, int]:
    names = ("steps", "new_sequences", "replayed_sequences", "new_tokens", "replayed_tokens", "total_tokens", "flops")
    return {name: 10 * number + place for place, name in enumerate(names)}


def arm(loss: dict[str, Any], **figures: Any) -> dict[str, Any]:
    stages = list(loss)
    none = {"forgetting": {}, "learned_loss": None, "tasks": {}}
    given = {"retained_loss": quantity(3.123456789, 0.1), "tokens": {"new": 5, "replayed": 1, "total": 6}, "flops": 42}
    return {"stages": stages, "loss": loss, **none, **given, **figures}


RESULT = {
    "languages": ["en", "fr"],
    "tasks": {"piqa": {"language": "en", "metric": "acc", "chance": 0.5}},
    "arms": {
        "mer": arm(
            {stage: {"en": quantity(1 / 3), "fr": quantity(2.5, 0.25)} for stage in ("init", "en", "fr")},
            forgetting={"en": quantity(-0.125, 0.0625)},
            learned_loss=quantity(2.75),
            lineages={"0": ["a", "a/en", "a/en/fr"], "1": ["b", "b/en", "b/en/fr"]},
            tasks={"init": {"piqa": quantity(0.5)}, "fr": {"piqa": quantity(2 / 3, 0.5)}},
        ),
        "joint": arm(
            {stage: {"en": quantity(1.5), "fr": quantity(1.25)} for stage in ("init", "joint")},
            lineages={"0": ["a", "a/joint"]},
        ),
    },
    "runs": {
        "a/en": {"stage": "en", "ledger": ledger(1)},
        "a/en/fr": {"stage": "fr", "ledger": ledger(2)},
        "a/joint": {"stage": "joint", "ledger": ledger(3)},
    },
    "data": {
        "en": {
            "documents_in": 30,
            "dropped": {"near duplicate": 4, "too short": 3},
            "masked": {"email": 2, "phone": 5},
            "train": {"documents": 20, "bytes": 200, "tokens": 2000},
            "validation": {"documents": 3, "bytes": 33, "tokens": 333},
            "tokens_per_byte": 0.1,
            "tokens_per_word": 1.1,
            "sources": {
                "web": {
                    "kind": "local", "licence": None, "documents_in": 30, "documents": 20, "tokens": 7, "share": 1.0,
                },
            },
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_tables(RESULT, folder)
    return folder / "tables"


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_headline_has_unrounded_numbers_and_gaps_where_there_is_nothing(results: Path) -> None:
    mer, joint = rows(results, "headline")
    assert mer == {
        "arm": "mer", "seeds": "2", "loss_en": repr(1 / 3), "loss_en_sd": "", "loss_fr": "2.5", "loss_fr_sd": "0.25",
        "forgetting_en": "-0.125", "forgetting_en_sd": "0.0625", "retained_loss": "3.123456789",
        "retained_loss_sd": "0.1", "learned_loss": "2.75", "learned_loss_sd": "", "new_tokens": "5",
        "replayed_tokens": "1", "total_tokens": "6", "flops": "42",
    }  # fmt: skip
    assert joint["forgetting_en"] == joint["learned_loss"] == "" and joint["loss_en"] == "1.5"


def test_the_ledger_has_the_stages_of_the_first_seed(results: Path) -> None:
    found = [(row["arm"], row["stage"], row["steps"], row["flops"]) for row in rows(results, "ledger")]
    assert found == [("mer", "en", "10", "16"), ("mer", "fr", "20", "26"), ("joint", "joint", "30", "36")]


def test_the_data(results: Path) -> None:
    (data,) = rows(results, "data")
    assert data == {
        "language": "en", "documents_in": "30", "dropped": "7", "masked": "7", "train_documents": "20",
        "train_bytes": "200", "train_tokens": "2000", "validation_documents": "3", "validation_bytes": "33",
        "validation_tokens": "333", "tokens_per_byte": "0.1", "tokens_per_word": "1.1",
    }  # fmt: skip
    assert [tuple(row.values()) for row in rows(results, "dropped")] == [
        ("en", "near duplicate", "4"), ("en", "too short", "3"),
    ]  # fmt: skip
    (source,) = rows(results, "sources")
    assert tuple(source.values()) == ("en", "web", "local", "", "30", "20", "7", "1.0")


def test_the_tasks(results: Path, tmp_path: Path) -> None:
    assert [tuple(row.values()) for row in rows(results, "tasks")] == [
        ("mer", "init", "piqa", "en", "acc", "0.5", "0.5", "", "1"),
        ("mer", "fr", "piqa", "en", "acc", "0.5", repr(2 / 3), "0.5", "2"),
    ]
    arms = {name: figures | {"tasks": {}} for name, figures in RESULT["arms"].items()}
    write_tables(RESULT | {"arms": arms, "tasks": {}}, tmp_path)
    empty = (tmp_path / "tables" / "tasks.csv").read_text()
    assert empty == "arm,stage,task,language,metric,chance,mean,sd,n\n"
