"""Learning-rate policies beside closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from palimpsest.settings.training import Train
from palimpsest.train.lr_schedule import learning_rate

TRAIN: dict[str, Any] = {"learning_rate": 1e-3, "min_learning_rate": 1e-4, "warmup_fraction": 0.1}


def curve(schedule: str, steps: tuple[int, ...] = (100, 100, 100), **settings: Any) -> list[float]:
    train = Train(**TRAIN | {"schedule": schedule} | settings)
    return [
        learning_rate(step, number, stage + 1, len(steps), train)
        for stage, number in enumerate(steps)
        for step in range(number)
    ]


def test_rewarm_cosine_is_one_curve_for_each_stage() -> None:
    rates = np.array(curve("rewarm_cosine")).reshape(3, 100)
    assert np.array_equal(rates[0], rates[1]) and np.array_equal(rates[1], rates[2])
    np.testing.assert_allclose(rates[0, :9], [1e-3 * (step + 1) / 10 for step in range(9)])
    assert rates[0].argmax() == 9 and rates[0, 9] == pytest.approx(1e-3)
    assert rates[0, 54] == pytest.approx(1e-4 + 0.5 * 9e-4)
    assert rates[0, 99] == pytest.approx(1e-4)


def test_single_cosine_is_one_curve_over_all_stages() -> None:
    rates = curve("single_cosine")
    assert int(np.argmax(rates)) == 29
    expected = [1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * ((s + 1) / 300 - 0.1) / 0.9)) for s in range(30, 300)]
    np.testing.assert_allclose(rates[30:], expected)


def test_single_cosine_gives_each_stage_the_same_part_however_many_steps_it_has() -> None:
    short, long = curve("single_cosine"), curve("single_cosine", (100, 200, 100))
    assert short[:100] == long[:100]
    assert short[-1] == long[-1]
    assert short[199] == pytest.approx(long[299])


LATE: dict[str, Any] = {"cooldown_fraction": 0.4, "decay_fraction": 0.25, "constant_learning_rate": 4e-4}


def test_infinite_warms_and_cools_once_stays_and_decays_at_the_very_end() -> None:
    rates = np.array(curve("infinite", **LATE))
    np.testing.assert_allclose(rates[:9], [1e-3 * (step + 1) / 10 for step in range(9)])
    np.testing.assert_allclose(rates[9], 1e-3)
    np.testing.assert_allclose(rates[29], 7e-4)  # half of the cosine from 1e-3 to 4e-4
    np.testing.assert_allclose(rates[49], 4e-4)
    assert np.all(rates[50:275] == 4e-4)
    np.testing.assert_allclose(
        rates[275:], [1e-4 + 3e-4 * (1 - math.sqrt((step + 1) / 25)) for step in range(25)], atol=1e-18
    )
    assert rates[299] == pytest.approx(1e-4)


def test_infinite_does_not_know_how_many_stages_there_are_before_the_last() -> None:
    assert curve("infinite", (100, 100), **LATE)[:100] == curve("infinite", (100, 50, 30), **LATE)[:100]
    first = np.array(curve("infinite", (100, 100), **LATE))
    np.testing.assert_allclose(np.array(curve("infinite", (100,), **LATE))[:75], first[:75])


def test_the_constant_rate_is_by_default_in_the_middle() -> None:
    assert curve("infinite", **LATE | {"constant_learning_rate": None})[150] == pytest.approx(5.5e-4)


def test_wsd_is_warm_up_peak_and_decay_in_each_stage() -> None:
    rates = np.array(curve("wsd", **LATE)).reshape(3, 100)
    assert np.array_equal(rates[0], rates[1]) and np.array_equal(rates[1], rates[2])
    np.testing.assert_allclose(rates[0, :10], [1e-3 * (step + 1) / 10 for step in range(10)])
    assert np.all(rates[0, 9:75] == 1e-3)
    np.testing.assert_allclose(rates[0, 75], 1e-4 + 9e-4 * 0.8)  # 1 - √(1/25)
    assert rates[0, 99] == pytest.approx(1e-4)


@pytest.mark.parametrize("schedule", ["infinite", "wsd"])
def test_no_decay_no_cooldown_no_warm_up(schedule: str) -> None:
    rates = curve(schedule, cooldown_fraction=0, decay_fraction=0, warmup_fraction=0, constant_learning_rate=1e-3)
    assert set(rates) == {1e-3}


@pytest.mark.parametrize("schedule", ["rewarm_cosine", "single_cosine", "infinite", "wsd"])
def test_all_rates_lie_between_0_and_the_peak_and_the_last_is_the_minimum(schedule: str) -> None:
    for steps in ((1,), (1, 1, 1), (7, 3, 11)):
        rates = curve(schedule, steps, **LATE)
        assert all(0 < rate <= 1e-3 for rate in rates)
        assert rates[-1] == pytest.approx(1e-4)


def test_fractions_that_overlap_and_a_constant_rate_out_of_range_are_refused() -> None:
    def parsed(**keys: Any) -> Train:
        return Train(**keys)

    parsed(schedule="infinite", warmup_fraction=0.25, cooldown_fraction=0.5, decay_fraction=0.25)
    with pytest.raises(ValueError, match=r"warmup_fraction 0\.25, cooldown_fraction 0\.5 and decay_fraction 0\.5"):
        parsed(schedule="infinite", warmup_fraction=0.25, cooldown_fraction=0.5, decay_fraction=0.5)
    parsed(schedule="wsd", warmup_fraction=0.5, decay_fraction=0.5)
    with pytest.raises(ValueError, match=r"warmup_fraction 0\.6 and decay_fraction 0\.5"):
        parsed(schedule="wsd", warmup_fraction=0.6, decay_fraction=0.5)
    for rate in (1e-5, 1e-2):
        with pytest.raises(ValueError, match="constant_learning_rate"):
            parsed(constant_learning_rate=rate)
