"""What replay costs beside growth that is worth 1.7: the compute of whole lineages, added up stage by stage."""

import json
from pathlib import Path
from typing import Any

import pytest

from palimpsest.artifact import write_json
from palimpsest.evaluate import law, scaling
from palimpsest.report import growth, palette
from palimpsest.report import scaling as read_back

SIZES = (2e6, 6e6, 3e7)
TOKENS = 1e6  # new ones, of every stage
GROWTH = 1.7


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(law, "RESAMPLES", 200)


def run(arm: str, size: float, seed: int, rates: list[float], accounting: str = "add") -> dict[str, Any]:
    """``rates``: of the stages after the first. What replays retains as much as a model ``GROWTH`` times as large."""
    mean = sum(rates) / len(rates)
    paid = sum(1 / (1 - rate) if accounting == "add" else 1.0 for rate in rates)
    loss = 9 * (size * (GROWTH if mean else 1)) ** -0.05
    return {
        "lineage": f"{size}-s{seed}/{arm}{rates}", "retained_loss": loss, "learned_loss": loss, "forgetting": {},
        # The seeds differ by a step or so.
        "flops": size * TOKENS * (1 + paid) * (1 + seed / 100), "parameters": int(size / 6), "flops_per_token": size,
        "rate": mean, "accounting": accounting if mean else None,
    }  # fmt: skip


def exchanged(folder: Path, rates: list[float], accounting: str = "add", without: tuple[float, ...] = SIZES) -> Any:
    """The entries by size; ``without``: the sizes that were tried without replay too."""
    points = []
    for size in dict.fromkeys(SIZES + without):
        arms: dict[str, Any] = {}
        if size in SIZES:
            arms["replay"] = {str(seed): run("replay", size, seed, rates, accounting) for seed in (0, 1)}
        if size in without:
            arms["sequential"] = {str(seed): run("sequential", size, seed, [0.0] * len(rates)) for seed in (0, 1)}
        points.append({"values": {"model.preset": str(size)}, "arms": {}, "runs": arms})
    write_json(folder / "sweep.json", {"format": "palimpsest.sweep/2", "points": points})
    scaling.build(folder / "sweep.json", folder / "scaling.json")
    found = json.loads((folder / "scaling.json").read_text())["exchange"]
    for entry in found:
        assert entry["growth"] == pytest.approx(GROWTH) and entry["ci95"] == pytest.approx([GROWTH, GROWTH])
    return {entry["at_flops_per_token"]: entry["replay_cost"] for entry in found}


@pytest.mark.parametrize(
    ("rates", "cost", "replay_is_cheaper"),
    [
        ([0.5], (1 + 2) / 2, True),  # two stages; 1/(1 − rate) = 2 would say that growth is cheaper
        ([0.5, 0.5], (1 + 2 + 2) / 3, True),
        ([0.5] * 4, (1 + 4 * 2) / 5, False),
        ([0.25, 0.5], (1 + 4 / 3 + 2) / 3, True),  # the mean rate would say 1.6 in every stage
    ],
    ids=str,
)
def test_the_cost_is_that_of_all_stages(
    rates: list[float], cost: float, replay_is_cheaper: bool, tmp_path: Path
) -> None:
    assert exchanged(tmp_path, rates) == pytest.approx(dict.fromkeys(SIZES, cost))
    found = read_back.read(tmp_path / "scaling.json")
    said = {row.reading.partition(".")[0] for row in growth.exchange(found, palette.styles(found.arms))}
    verdicts = "Growth does as much for less than replay", "Replay costs less than the growth that does as much"
    assert said == {verdicts[replay_is_cheaper]}


def test_under_replace_replay_costs_no_compute(tmp_path: Path) -> None:
    assert exchanged(tmp_path, [0.5, 0.5], "replace") == dict.fromkeys(SIZES, 1.0)


def test_a_size_that_was_not_tried_without_replay_costs_what_its_later_stages_do(tmp_path: Path) -> None:
    found = exchanged(tmp_path, [0.5], without=(2e6, 6e6, 4e7))
    assert found == pytest.approx({2e6: 1.5, 6e6: 1.5, 3e7: 2.0})
    assert exchanged(tmp_path, [0.5], "replace", without=(2e6, 6e6, 4e7))[3e7] == 1.0
