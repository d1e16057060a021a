"""The worked example of docs/metrics.md, by hand."""

import numpy as np
import pytest
from scipy import stats

from palimpsest.evaluate import continual_metrics

MATRIX = {
    "init": {"en": 8.0, "fr": 8.2, "de": 8.4},
    "en": {"en": 3.0, "fr": 7.0, "de": 7.5},
    "fr": {"en": 4.5, "fr": 3.2, "de": 7.1},
    "de": {"en": 5.0, "fr": 4.2, "de": 3.4},
}


def test_forgetting() -> None:
    assert continual_metrics.forgetting(MATRIX) == pytest.approx({"en": 2.0, "fr": 1.0})


def test_forgetting_is_relative_to_the_best_loss_and_may_be_negative() -> None:
    later_better = MATRIX | {"fr": MATRIX["fr"] | {"en": 2.5}}
    assert continual_metrics.forgetting(later_better)["en"] == pytest.approx(2.5)
    improved = MATRIX | {"de": {"en": 2.9, "fr": 3.1, "de": 3.4}}
    assert continual_metrics.forgetting(improved) == pytest.approx({"en": -0.1, "fr": -0.1})


def test_transfer() -> None:
    assert continual_metrics.backward_transfer(MATRIX) == pytest.approx({"en": 2.0, "fr": 1.0})
    assert continual_metrics.forward_transfer(MATRIX) == pytest.approx({"fr": 1.2, "de": 1.3})


def test_retained_and_learned_loss() -> None:
    assert continual_metrics.retained_loss(MATRIX) == pytest.approx((5.0 + 4.2 + 3.4) / 3)
    assert continual_metrics.learned_loss(MATRIX) == pytest.approx((3.0 + 3.2 + 3.4) / 3)


def test_one_stage_forgets_nothing() -> None:
    matrix = {"init": {"en": 8.0}, "en": {"en": 3.0}}
    assert continual_metrics.forgetting(matrix) == {} and continual_metrics.forward_transfer(matrix) == {}


def test_bootstrap_interval_is_the_normal_interval_for_equal_documents() -> None:
    """Documents of equal length: the interval is mean ± 1.96 standard errors, up to the resampling's own noise."""
    rng = np.random.default_rng(1)
    nats = rng.normal(300, 40, size=400)
    low, high = continual_metrics.bootstrap_interval(nats, np.full(400, 100.0), 4000)
    error = nats.std() / 100 / np.sqrt(400)
    centre, reach = nats.mean() / 100, stats.norm.ppf(0.975) * error
    assert (low, high) == pytest.approx((centre - reach, centre + reach), abs=0.15 * error)
