import math

import numpy as np
import pytest

from palimpsest.train.learning_rate import learning_rate

TRAIN = {"learning_rate": 1e-3, "min_learning_rate": 1e-4, "warmup_fraction": 0.1}


def curve(schedule, steps=(100, 100, 100)):
    train = TRAIN | {"schedule": schedule}
    return [
        learning_rate(step, number, stage + 1, len(steps), train)
        for stage, number in enumerate(steps)
        for step in range(number)
    ]


def test_rewarm_cosine_is_one_curve_for_each_stage():
    rates = np.array(curve("rewarm_cosine")).reshape(3, 100)
    assert np.array_equal(rates[0], rates[1]) and np.array_equal(rates[1], rates[2])
    np.testing.assert_allclose(rates[0, :9], [1e-3 * (step + 1) / 10 for step in range(9)])
    assert rates[0].argmax() == 9 and rates[0, 9] == pytest.approx(1e-3)
    assert rates[0, 54] == pytest.approx(1e-4 + 0.5 * 9e-4)
    assert rates[0, 99] == pytest.approx(1e-4)


def test_single_cosine_is_one_curve_over_all_stages():
    rates = curve("single_cosine")
    assert int(np.argmax(rates)) == 29
    expected = [1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * ((s + 1) / 300 - 0.1) / 0.9)) for s in range(30, 300)]
    np.testing.assert_allclose(rates[30:], expected)


def test_single_cosine_gives_each_stage_the_same_part_however_many_steps_it_has():
    short, long = curve("single_cosine"), curve("single_cosine", (100, 200, 100))
    assert short[:100] == long[:100]
    assert short[-1] == long[-1]
    assert short[199] == pytest.approx(long[299])
