"""The cost of replay, next to a growth of 1.7: the compute of whole lineages, summed stage by stage."""

from pathlib import Path

import pytest
from support.replay_cost import SIZES, replay_costs

from palimpsest.evaluate import power_law


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_law, "RESAMPLES", 200)


@pytest.mark.parametrize(
    ("rates", "cost"),
    [
        ([0.5], (1 + 2) / 2),  # two stages; 1/(1 − rate) = 2 would say that growth is cheaper
        ([0.5, 0.5], (1 + 2 + 2) / 3),
        ([0.5] * 4, (1 + 4 * 2) / 5),
        ([0.25, 0.5], (1 + 4 / 3 + 2) / 3),  # the mean rate would say 1.6 in every stage
    ],
    ids=str,
)
def test_the_cost_is_that_of_all_stages(rates: list[float], cost: float, tmp_path: Path) -> None:
    assert replay_costs(tmp_path, rates) == pytest.approx(dict.fromkeys(SIZES, cost))


def test_under_replace_replay_costs_no_compute(tmp_path: Path) -> None:
    assert replay_costs(tmp_path, [0.5, 0.5], "replace") == dict.fromkeys(SIZES, 1.0)


def test_a_size_not_trained_without_replay_costs_what_its_later_stages_do(tmp_path: Path) -> None:
    sizes = (2_000_000, 6_000_000, 40_000_000)
    found = replay_costs(tmp_path, [0.5], sizes_without_replay=sizes)
    assert found == pytest.approx({2_000_000: 1.5, 6_000_000: 1.5, 30_000_000: 2.0})
    assert replay_costs(tmp_path, [0.5], "replace", sizes)[30_000_000] == 1.0
