"""The computed reservoir against one that is filled sequence by sequence."""

import heapq
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from palimpsest.replay import reservoir
from palimpsest.replay.permutation import keyed_hash
from palimpsest.replay.reservoir import retained

SIZES = (60, 40, 50)  # of three stages


def one_by_one(offered: int, capacity: int, key: int) -> list[int]:
    """The same as a stream: a new number replaces the one with the highest priority, if its own is lower."""
    held: list[tuple[int, int]] = []
    for number in range(offered):
        priority = int(keyed_hash(np.array([number]), key)[0])
        if len(held) < capacity:
            heapq.heappush(held, (-priority, number))
        elif priority < -held[0][0]:
            heapq.heapreplace(held, (-priority, number))
    return sorted(number for _, number in held)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize(("offered", "capacity"), [(0, 5), (4, 5), (5, 5), (6, 5), (300, 40), (300, 1)])
def test_equals_a_reservoir_that_is_filled_one_by_one(
    monkeypatch: pytest.MonkeyPatch, chunk: int, offered: int, capacity: int
) -> None:
    monkeypatch.setattr(reservoir, "_CHUNK", chunk)
    for key in range(10):
        assert retained(offered, capacity, key).tolist() == one_by_one(offered, capacity, key)


def test_a_replaced_sequence_never_returns() -> None:
    for key in range(20):
        states = [set(retained(offered, 30, key).tolist()) for offered in np.cumsum(SIZES)]
        for offered, (before, after) in zip(np.cumsum(SIZES), pairwise(states), strict=False):
            assert {number for number in after if number < offered} <= before


def test_has_the_distribution_of_algorithm_r() -> None:
    """Membership is uniform, and as many survive from stage to stage as in algorithm R, run sequence by sequence."""
    capacity, runs, total = 30, 1500, sum(SIZES)
    ends = np.cumsum(SIZES)
    counts = {"ours": np.zeros(total), "theirs": np.zeros(total)}
    survivors: dict[str, list[tuple[int, int]]] = {"ours": [], "theirs": []}
    for seed in range(runs):
        ours = [set(retained(int(end), capacity, seed).tolist()) for end in ends]
        rng = np.random.default_rng(seed)
        kept: list[int] = []
        theirs: list[set[int]] = []
        for item in range(total):
            if len(kept) < capacity:
                kept.append(item)
            elif (place := int(rng.integers(0, item + 1))) < capacity:
                kept[place] = item
            if item + 1 in ends:
                theirs.append(set(kept))
        for name, states in (("ours", ours), ("theirs", theirs)):
            counts[name][list(states[-1])] += 1
            survivors[name].append((len(states[0] & states[1]), len(states[0] & states[2])))
    for name in counts:
        expected = runs * capacity / total
        statistic = ((counts[name] - expected) ** 2 / expected).sum() / (1 - capacity / total)
        assert stats.chi2.sf(statistic, total - 1) > 1e-3
    for pair in zip(np.transpose(survivors["ours"]), np.transpose(survivors["theirs"]), strict=True):
        tables = [np.bincount(values, minlength=capacity + 1) for values in pair]
        table = np.array([counts for counts in np.transpose(tables) if counts.sum() >= 20])
        assert stats.chi2_contingency(table).pvalue > 1e-3
    # Of 30 held of 100, how many are among the first 60 is hypergeometric.
    first_two = stats.hypergeom(100, 60, capacity)
    assert np.mean(np.transpose(survivors["ours"])[0]) == pytest.approx(first_two.mean(), abs=5 * first_two.std() / 38)
