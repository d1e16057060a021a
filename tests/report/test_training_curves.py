"""loss_curves.csv and alignment.csv as they are read: means over seeds, thinned or averaged, wrong files named."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from support.made_analyses import MadeAnalyses
from support.made_results import MadeResults

from palimpsest.errors import ArtifactError
from palimpsest.report.training_curves import Line, read_gradient_cosines, read_loss_curves

COSINES = "arm,seed,stage,step,tokens,at,group,cosine"
LOSSES = "arm,seed,stage,language,step,tokens,loss"


def _line(lines: list[Line], arm: str, group: str) -> Line:
    return next(line for line in lines if (line.arm, line.series) == (arm, group))


def test_points_are_means_over_seeds(tmp_path: Path) -> None:
    lines = read_gradient_cosines(MadeAnalyses.write_alignment(tmp_path, seeds=3))
    assert [(line.arm, line.series) for line in lines] == [
        (a, g) for a in ("replay", "mer") for g in MadeAnalyses.groups
    ]
    for line in lines:
        assert [point.step for point in line.points] == list(range(160, 551, 10)) and line.per_point == 1
        for point in line.points:
            values = [MadeAnalyses.cosine(line.arm, seed, point.step, line.series) for seed in range(3)]
            assert (point.low, point.high) == pytest.approx((min(values), max(values)))
            assert point.mean == pytest.approx(fmean(values)) and point.seeds == 3
            assert point.stage == ("fr" if point.step <= 350 else "de") and point.tokens == point.step * 2048
    assert _line(lines, "replay", "all").windows == []
    changes = [window.after - window.before for window in _line(lines, "mer", "head").windows]
    assert changes == pytest.approx([MadeAnalyses.change] * 20)


def test_long_stages_are_averaged_not_thinned(tmp_path: Path) -> None:
    values = [((step * 7919) % 101) / 101 for step in range(1000)]
    rows = [f"mer,0,fr,{step},{step},step,all,{value}" for step, value in enumerate(values)]
    (tmp_path / "a.csv").write_text("\n".join([COSINES, *rows]))
    (line,) = read_gradient_cosines(tmp_path / "a.csv")
    assert len(line.points) <= 48 and line.per_point == 21
    assert line.points[3].mean == pytest.approx(fmean(values[63:84])) and line.points[3].step == 73


def test_half_a_window_is_no_window(tmp_path: Path) -> None:
    rows = ["mer,0,fr,5,5,step,all,0.1", "mer,0,fr,5,5,window,all,0.1", "mer,0,fr,9,9,window,all,0.2"]
    (tmp_path / "a.csv").write_text("\n".join([COSINES, *rows, "mer,1,fr,9,9,interpolated,all,0.9"]))
    (line,) = read_gradient_cosines(tmp_path / "a.csv")
    assert line.windows == []


def test_long_histories_are_thinned_but_keep_stage_ends(tmp_path: Path) -> None:
    rows = [
        f"sequential,0,{stage},en,{start + step},{start + step},2.5"
        for stage, start in (("en", 0), ("fr", 5000))
        for step in range(1, 5001)
    ]
    (tmp_path / "curves.csv").write_text("\n".join([LOSSES, *rows]))
    (line,) = read_loss_curves(tmp_path / "curves.csv")
    assert len(line.points) < 110
    assert [point.step for point in line.stage_ends] == [5000, 10000]
    assert {1, 5000, 5001, 10000} <= {point.step for point in line.points}


def test_losses_are_those_of_the_file_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    made = MadeResults(seeds=3)
    lines = read_loss_curves(made.write(tmp_path)[1])
    line, keys = _line(lines, "mer", "fr"), ("arm", "language", "stage", "step")
    for point in line.points:
        place = ("mer", "fr", point.stage, point.step)
        losses = [row["loss"] for row in made.rows if tuple(row[key] for key in keys) == place]
        assert len(losses) == 3
        assert (point.mean, point.low, point.high) == pytest.approx((fmean(losses), min(losses), max(losses)))
    (tmp_path / "nan.csv").write_text(f"{LOSSES}\nmer,0,en,en,1,1,nan\nmer,0,en,en,2,2,3.5\n")
    (line,) = read_loss_curves(tmp_path / "nan.csv")
    assert [point.step for point in line.points] == [2]
    (tmp_path / "empty.csv").write_text("\n")
    assert read_loss_curves(tmp_path / "empty.csv") == []


@pytest.mark.parametrize(
    "row", ["mer,0,fr,9,9,after,all,0.1", "mer,0,fr,9,9,step,all,", "mer,0,fr,x,9,step,all,0.1", "mer,0,fr"], ids=str
)
def test_other_contents_are_named(row: str, tmp_path: Path) -> None:
    (tmp_path / "alignment.csv").write_text("\n".join([COSINES, "mer,0,fr,1,1,step,all,0.5", row]))
    with pytest.raises(ArtifactError, match=r"alignment\.csv:3: expected arm, seed"):
        read_gradient_cosines(tmp_path / "alignment.csv")
    with pytest.raises(ArtifactError, match=r"nothing\.csv: no such file"):
        read_gradient_cosines(tmp_path / "nothing.csv")
