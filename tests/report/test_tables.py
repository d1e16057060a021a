"""What the tables say: which mean is bold, which score may be guessed, what the interpolation of MER changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.made_analyses import MadeAnalyses
from support.made_results import MadeResults

from palimpsest.report import palette, tables, zero_shot
from palimpsest.report.paired_seeds import clearly_lowest, paired_interval
from palimpsest.report.tables import Cell
from palimpsest.report.training_curves import read_gradient_cosines


def _bold(made: MadeResults) -> dict[str, list[str]]:
    """Arm → bold cells of the headline table."""
    results = made.read()
    bodies = tables.headline(results, palette.styles(list(results.arms))).bodies
    return {body.name: [cell.text for cell in body.rows[0] if cell.kind == "best"] for body in bodies}


def _set_final(made: MadeResults, arm: str, losses: list[float]) -> None:
    """The loss on English after the last stage, by seed."""
    entry = made.value["arms"][arm]
    for loss, chain in zip(losses, entry["lineages"].values(), strict=True):
        made.runs[chain[-1]]["loss"]["en"]["nats_per_token"] = loss
    entry["loss"][entry["stages"][-1]]["en"]["mean"] = sum(losses) / len(losses)


def test_bold_is_what_paired_seeds_tell_from_every_other_arm() -> None:
    """Seeds vary by 1, the arms by 0.1: only pairs of one seed tell them apart."""
    made = MadeResults(seeds=3)
    _set_final(made, "sequential", [5.0, 6.0, 7.0])
    _set_final(made, "replay", [1.1, 2.1, 3.11])
    _set_final(made, "mer", [1.0, 2.0, 3.0])
    _set_final(made, "joint", [0.1, 0.2, 0.3])
    assert "2.000" in _bold(made)["mer"] and not _bold(made)["joint"]
    _set_final(made, "replay", [1.4, 1.7, 3.2])  # the mean is as far away, but not with every seed
    assert not {"2.000", "2.100"} & {text for texts in _bold(made).values() for text in texts}


def test_one_seed_tells_nothing_apart() -> None:
    assert not any(_bold(MadeResults()).values())


def test_paired_intervals_are_students() -> None:
    """Against a printed table: t(0.975, 2) = 4.303."""
    interval = paired_interval([1.0, 2.0, 3.0])
    assert interval == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3)
    assert paired_interval([1.0]) is None
    assert clearly_lowest({"one": {"0": 1.0, "1": 1.0}}) is None  # alone, there is nothing to compare


def _scores(made: MadeResults) -> dict[str, dict[str, Cell]]:
    results = made.read()
    table = zero_shot.table(results, palette.styles(list(results.arms)))
    assert table is not None
    return {body.name: {c.style.name: c for c in body.rows[0] if c.style is not None} for body in table.bodies}


@pytest.mark.parametrize("seeds", [1, 3])
def test_scores_are_those_after_the_last_stage_with_their_spread(seeds: int) -> None:
    made = MadeResults(seeds=seeds)
    table = _scores(made)
    assert set(table) == {"cloze_en", "xwinograd_fr", "pubmedqa"}
    for task, row in table.items():
        for arm, score in row.items():
            last = made.value["arms"][arm]["tasks"]["joint" if arm == "joint" else "de"][task]
            assert score.text == f"{last['mean']:.3f}"
            assert score.note == (f"±{last['sd']:.3f}" if seeds > 1 else "±0.012")
    history = made.value["arms"]["mer"]["tasks"]
    assert [f"{history[stage]['pubmedqa']['mean']:.3f}" for stage in ("init", "en", "fr", "de")] == re.findall(
        r"\d\.\d{3}", table["pubmedqa"]["mer"].tip
    )


def test_guessing_is_marked() -> None:
    made = MadeResults()
    for arm, score in {"sequential": 0.274, "replay": 0.2742, "mer": 0.226, "joint": 0.9}.items():
        stage = made.value["arms"][arm]["stages"][-1]
        made.value["arms"][arm]["tasks"][stage]["cloze_en"]["mean"] = score
    row = _scores(made)["cloze_en"]  # chance 0.25, standard error 0.0123: what is within 0.0241 may be guessed
    assert {arm: "guessed" in score.kind for arm, score in row.items()} == {
        "sequential": True, "replay": False, "mer": True, "joint": False,
    }  # fmt: skip
    assert not any(score.kind for score in _scores(made)["pubmedqa"].values())  # no chance level, one seed


def test_seeds_that_agree_may_still_all_have_guessed() -> None:
    """All seeds are asked the same questions: their spread says nothing of the luck of these."""
    made = MadeResults(seeds=3)
    for arm, sd in {"sequential": 0.001, "replay": 0.02, "mer": 0.0, "joint": None}.items():
        stage = made.value["arms"][arm]["stages"][-1]
        made.value["arms"][arm]["tasks"][stage]["cloze_en"] = {"mean": 0.273, "sd": sd, "n": 3}  # chance: 0.25
    for run in made.runs.values():
        run["tasks"]["cloze_en"]["stderr"] = 0.013 if "joint" not in run["arms"] else None
    row = _scores(made)["cloze_en"]
    assert {arm: (score.note, "guessed" in score.kind) for arm, score in row.items()} == {
        "sequential": ("±0.013", True), "replay": ("±0.020", True), "mer": ("±0.013", True), "joint": ("", False),
    }  # fmt: skip


def test_the_highest_score_is_bold_where_seeds_tell_it_but_never_joint() -> None:
    made = MadeResults(seeds=3)
    for run in made.runs.values():
        run["tasks"]["cloze_en"]["value"] += 0.5 if "joint" in run["arms"] else 0.0
    row = _scores(made)["cloze_en"]
    assert [arm for arm, score in row.items() if "best" in score.kind] == ["sequential"]  # the longest name, as made


def test_interpolation_rows_are_means_over_windows(tmp_path: Path) -> None:
    lines = read_gradient_cosines(MadeAnalyses.write_alignment(tmp_path))
    (body,) = tables.interpolation(lines, palette.styles(["replay", "mer"])).bodies
    assert body.name == "mer"
    assert [row[0].text for row in body.rows] == ["all weights", *MadeAnalyses.groups[1:]]
    assert all(row[1].text == "20" and row[4].text == "+0.043" for row in body.rows)
