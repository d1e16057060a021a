"""Every table of the report as CSV, from the contents of eval_all.json."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from palimpsest.evaluate.csv_tables import write_tables
from palimpsest.evaluate.results.dataset_summary import LanguageSummary, SourceSummary, SplitCounts
from palimpsest.evaluate.results.eval_all import (
    ArmSummary,
    CheckpointSummary,
    EvalAll,
    TaskInfo,
    TokenTotals,
)
from palimpsest.evaluate.results.seed_mean import SeedMean
from palimpsest.replay.stage_ledger import StageLedger


def mean(value: float, sd: float | None = None) -> SeedMean:
    return SeedMean(mean=value, sd=sd, n=2 if sd else 1)


def ledger(number: int) -> StageLedger:
    fields = ("steps", "new_sequences", "replayed_sequences", "new_tokens", "replayed_tokens", "total_tokens", "flops")
    return StageLedger(**{name: 10 * number + index for index, name in enumerate(fields)})


def checkpoint(stage: str, stage_ledger: StageLedger | None = None) -> CheckpointSummary:
    return CheckpointSummary(
        arms=(), seed=0, stage=stage, parent=None, parameters=77, replay=None, mer=None, ledger=stage_ledger,
        loss={}, tasks={}, samples={},
    )  # fmt: skip


MER = ArmSummary(
    stages=("init", "en", "fr"),
    loss={stage: {"en": mean(1 / 3), "fr": mean(2.5, 0.25)} for stage in ("init", "en", "fr")},
    bits_per_byte={},
    forgetting={"en": mean(-0.125, 0.0625)},
    backward_transfer={},
    forward_transfer={},
    retained_loss=mean(3.123456789, 0.1),
    learned_loss=mean(2.75),
    tasks={"init": {"piqa": mean(0.5)}, "fr": {"piqa": mean(2 / 3, 0.5)}},
    tokens=TokenTotals(new=5, replayed=1, total=6),
    flops=42,
    lineages={"0": ("a", "a/en", "a/en/fr"), "1": ("b", "b/en", "b/en/fr")},
)
JOINT = dataclasses.replace(
    MER,
    stages=("init", "joint"),
    loss={stage: {"en": mean(1.5), "fr": mean(1.25)} for stage in ("init", "joint")},
    forgetting={},
    learned_loss=None,
    tasks={},
    lineages={"0": ("a", "a/joint")},
)
RESULTS = EvalAll(
    sample=False,
    params={},
    languages=("en", "fr"),
    tasks={"piqa": TaskInfo(language="en", metric="acc", chance=0.5)},
    arms={"mer": MER, "joint": JOINT},
    runs={
        "a": checkpoint("init"),
        "a/en": checkpoint("en", ledger(1)),
        "a/en/fr": checkpoint("fr", ledger(2)),
        "a/joint": checkpoint("joint", ledger(3)),
    },
    data={
        "en": LanguageSummary(
            sources={
                "web": SourceSummary(kind="local", licence=None, documents_in=30, documents=20, tokens=7, share=1.0)
            },
            documents_in=30,
            dropped={"near duplicate": 4, "too short": 3},
            masked={"email": 2, "phone": 5},
            bad_files=(),
            train=SplitCounts(documents=20, bytes=200, tokens=2000),
            validation=SplitCounts(documents=3, bytes=33, tokens=333),
            tokens_per_byte=0.1,
            tokens_per_word=1.1,
        )
    },
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_tables(RESULTS, folder)
    return folder


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_headline_has_unrounded_numbers_and_empty_cells(tables: Path) -> None:
    mer, joint = rows(tables, "headline")
    assert mer == {
        "arm": "mer", "seeds": "2", "loss_en": repr(1 / 3), "loss_en_sd": "", "loss_fr": "2.5", "loss_fr_sd": "0.25",
        "forgetting_en": "-0.125", "forgetting_en_sd": "0.0625", "retained_loss": "3.123456789",
        "retained_loss_sd": "0.1", "learned_loss": "2.75", "learned_loss_sd": "", "new_tokens": "5",
        "replayed_tokens": "1", "total_tokens": "6", "flops": "42",
    }  # fmt: skip
    assert joint["forgetting_en"] == joint["learned_loss"] == "" and joint["loss_en"] == "1.5"


def test_the_ledger_has_the_stages_of_the_first_seed(tables: Path) -> None:
    found = [(row["arm"], row["stage"], row["steps"], row["flops"]) for row in rows(tables, "ledger")]
    assert found == [("mer", "en", "10", "16"), ("mer", "fr", "20", "26"), ("joint", "joint", "30", "36")]


def test_the_data(tables: Path) -> None:
    (data,) = rows(tables, "data")
    assert data == {
        "language": "en", "documents_in": "30", "dropped": "7", "masked": "7", "train_documents": "20",
        "train_bytes": "200", "train_tokens": "2000", "validation_documents": "3", "validation_bytes": "33",
        "validation_tokens": "333", "tokens_per_byte": "0.1", "tokens_per_word": "1.1",
    }  # fmt: skip
    assert [tuple(row.values()) for row in rows(tables, "dropped")] == [
        ("en", "near duplicate", "4"), ("en", "too short", "3"),
    ]  # fmt: skip
    (source,) = rows(tables, "sources")
    assert tuple(source.values()) == ("en", "web", "local", "", "30", "20", "7", "1.0")


def test_the_tasks(tables: Path, tmp_path: Path) -> None:
    assert [tuple(row.values()) for row in rows(tables, "tasks")] == [
        ("mer", "init", "piqa", "en", "acc", "0.5", "0.5", "", "1"),
        ("mer", "fr", "piqa", "en", "acc", "0.5", repr(2 / 3), "0.5", "2"),
    ]
    arms = {name: dataclasses.replace(arm, tasks={}) for name, arm in RESULTS.arms.items()}
    write_tables(dataclasses.replace(RESULTS, arms=arms, tasks={}), tmp_path)
    assert (tmp_path / "tasks.csv").read_text() == "arm,stage,task,language,metric,chance,mean,sd,n\n"
