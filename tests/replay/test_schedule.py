"""Exact counts of replayed sequences, against their formula and against brute force."""

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.replay.schedule import ReplaySchedule
from palimpsest.settings.replay import Accounting, ReplayShare

rates = st.decimals(0, "0.95", places=4).map(str)


def schedule(budget: int, batch_size: int, rate: str, accounting: Accounting) -> ReplaySchedule:
    replay = ReplayShare(rate=Decimal(rate), accounting=accounting)
    return ReplaySchedule.for_budget(budget, batch_size=batch_size, replay=replay)


def test_without_replay_all_sequences_are_new() -> None:
    stage = ReplaySchedule.for_budget(10, batch_size=4, replay=None)
    assert (stage.steps, stage.new, stage.replayed) == (3, 10, 0)


@given(rate=rates, batch=st.integers(1, 40), budget=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_counts_follow_the_formula_in_exact_arithmetic(rate: str, batch: int, budget: int) -> None:
    """Batch i holds ⌊(i+1)αB⌋ - ⌊iαB⌋ replayed sequences; all batches but the last are full; indices have no gaps."""
    alpha = Fraction(rate)
    stage = schedule(budget, batch, rate, "add")
    new = replayed = 0
    for step in range(stage.steps):
        part = stage.batch(step)
        assert part.new.start == new and part.replayed.start == replayed
        new, replayed = part.new.stop, part.replayed.stop
        assert part.is_replayed.sum() == len(part.replayed)
        assert len(part.is_replayed) == len(part.new) + len(part.replayed)
        if step < stage.steps - 1:
            assert len(part.is_replayed) == batch
            assert len(part.replayed) == floor((step + 1) * alpha * batch) - floor(step * alpha * batch)
    assert (new, replayed) == (stage.new, stage.replayed)
    assert new == budget


@given(rate=rates, batch=st.integers(1, 40), budget=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_add_takes_the_fewest_steps_that_fit_the_new_sequences(rate: str, batch: int, budget: int) -> None:
    """By brute force: sequences are added one by one until the budget of new ones is reached."""
    alpha, position, new = Fraction(rate), 0, 0
    while new < budget:
        new += floor((position + 1) * alpha) == floor(position * alpha)
        position += 1
    stage = schedule(budget, batch, rate, "add")
    assert (stage.total, stage.steps) == (position, ceil(Fraction(position, batch)))


@pytest.mark.parametrize(
    ("rate", "factor"), [("0.05", Fraction(20, 19)), ("0.25", Fraction(4, 3)), ("0.5", Fraction(2))]
)
def test_add_costs_what_the_paper_says(rate: str, factor: Fraction) -> None:
    """⌈N/((1-α)B)⌉ steps: 1.33x the compute at 25 %, 2x at 50 %."""
    stage = schedule(11_921 * 4096, 4096, rate, "add")
    assert stage.steps == ceil(11_921 * factor)
    assert stage.new == 11_921 * 4096
    assert Fraction(stage.total, stage.new) == pytest.approx(float(factor), rel=1e-7)


@given(rate=rates, batch=st.integers(1, 40), budget=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_replace_keeps_the_compute(rate: str, batch: int, budget: int) -> None:
    stage = schedule(budget, batch, rate, "replace")
    assert stage.total == budget
    assert stage.replayed == floor(budget * Fraction(rate))


def test_replayed_positions_are_spread_evenly() -> None:
    stage = schedule(30_000, 100, "0.3", "replace")
    is_replayed = np.concatenate([stage.batch(step).is_replayed for step in range(stage.steps)])
    windows = np.convolve(is_replayed, np.ones(10), "valid")
    assert set(windows) == {3.0}


def test_rates_are_exact() -> None:
    """0.1 as a float is a little more than a tenth, so a long stage would replay one sequence too few or too many."""
    stage = schedule(10**13, 10**6, "0.1", "replace")
    part = stage.batch(9_999_999)
    assert (part.replayed.stop, len(part.replayed)) == (10**12, 10**5)


def test_refuses_rates_outside_0_to_1() -> None:
    for rate in ("1", "-0.1", "1.5"):
        with pytest.raises(ValueError, match="replay rate"):
            schedule(10, 2, rate, "add")
        with pytest.raises(ValueError, match="replay rate"):
            schedule(10, 2, rate, "replace")


@given(rate=st.decimals("0.001", "0.95", places=4).map(str), batch=st.integers(1, 40), budget=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_new_before_counts_the_new_sequences_of_earlier_batches(rate: str, batch: int, budget: int) -> None:
    stage = schedule(budget, batch, rate, "add")
    for step in range(stage.steps):
        part = stage.batch(step)
        indices = np.arange(part.replayed.start, part.replayed.stop)
        assert stage.new_before(indices).tolist() == [part.new.start] * len(indices)


def test_new_before_does_not_overflow() -> None:
    stage = schedule(10**13, 10**6, "0.123456789", "replace")
    part = stage.batch(9_999_999)
    assert stage.new_before(np.array([part.replayed.start, part.replayed.stop - 1])).tolist() == [part.new.start] * 2
