"""Power laws against planted laws, SciPy's curve_fit, and the closed form of a regression's interval."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

from palimpsest.evaluate import power_law
from palimpsest.evaluate.power_law import Observation, fit_power_law, interval

SIZES = [1e6, 4e6, 2e7, 9e7, 5e8, 2e9]
Curve = Callable[[float], float]


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for these tests."""
    monkeypatch.setattr(power_law, "RESAMPLES", 500)


def observed(curve: Curve, sizes: int, seeds: int, noise: float = 0.0, draw: int = 0) -> list[Observation]:
    """Losses on a curve, each times e^N(0, noise²)."""
    rng = np.random.default_rng(draw)
    return [
        (size, seed, curve(size) * math.exp(noise * rng.normal())) for size in SIZES[:sizes] for seed in range(seeds)
    ]


def power(size: float) -> float:
    return 9 * size**-0.06


def saturating(size: float) -> float:
    return 1.7 + 300 * size**-0.35


@pytest.mark.parametrize("sizes", [3, 6])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_power_law_without_noise_is_recovered_exactly(sizes: int, seeds: int) -> None:
    law = fit_power_law(observed(power, sizes, seeds))
    assert law.coefficients() == pytest.approx({"A": 9, "b": 0.06}, rel=1e-9)
    for name, (low, high) in law.intervals().items():
        assert low == pytest.approx(law.coefficients()[name]) == high
    assert law.text == "L = A·C^(−b)"
    assert np.exp(law.log_loss(np.array([3e7]))) == pytest.approx(power(3e7), rel=1e-9)


def test_a_loss_that_grows_with_size_has_a_negative_exponent() -> None:
    assert fit_power_law(observed(lambda size: 2 * size**0.1, 4, 1)).coefficients() == pytest.approx(
        {"A": 2, "b": -0.1}
    )


def test_an_asymptote_without_noise_is_recovered_exactly() -> None:
    law = fit_power_law(observed(saturating, 6, 1))
    assert law.text == "L = E + A·C^(−b)"
    assert law.coefficients() == pytest.approx({"E": 1.7, "A": 300, "b": 0.35}, rel=1e-6)
    assert np.exp(law.log_loss(np.array([1e12]))[0]) == pytest.approx(saturating(1e12), rel=1e-6)


@pytest.mark.parametrize("draw", range(6))
def test_noisy_fits_equal_scipys(draw: int) -> None:
    straight, bent = observed(power, 3, 3, 0.01, draw), observed(saturating, 5, 3, 0.01, draw)
    (log_a, b), _ = optimize.curve_fit(lambda x, log_a, b: log_a - b * x, *logs(straight))
    assert fit_power_law(straight).coefficients() == pytest.approx({"A": math.exp(log_a), "b": b}, rel=1e-6)
    (e, log_a, b), _ = optimize.curve_fit(
        lambda x, e, log_a, b: np.log(e + np.exp(log_a - b * x)), *logs(bent), p0=(1.7, math.log(300), 0.35), ftol=1e-12
    )
    assert fit_power_law(bent).coefficients() == pytest.approx({"E": e, "A": math.exp(log_a), "b": b}, rel=1e-4)


def logs(observations: list[Observation]) -> np.ndarray:
    return np.log([(size, loss) for size, _, loss in observations]).T


def test_an_asymptote_needs_four_sizes_and_six_runs() -> None:
    """The same bent curve: three sizes, and four with one seed, are read as a straight line, and ``why`` says so."""
    three, four, enough = (fit_power_law(observed(saturating, *design)) for design in ((3, 5), (4, 1), (4, 3)))
    assert (three.asymptotic, four.asymptotic, enough.asymptotic) == (False, False, True)
    assert three.why.startswith("3 sizes cannot distinguish an asymptote E")
    assert four.why.startswith("4 runs are too few to detect an asymptote E")
    assert enough.why.startswith("AICc -")


def test_the_criterion_is_that_of_hurvich_and_tsai() -> None:
    """N ln(RSS/N) + 2k + 2k(k + 1)/(N − k − 1) with k = 3 for the straight line: two coefficients and the variance."""
    observations = observed(power, 4, 2, 0.01)
    x, y = logs(observations)
    rss = float(np.sum((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2))
    assert f"{8 * math.log(rss / 8) + 6 + 24 / 4:.1f} without" in fit_power_law(observations).why


@pytest.mark.parametrize("draw", range(8))
def test_noise_alone_gives_no_asymptote(draw: int) -> None:
    """AICc's penalty for a fourth parameter at 15 points is 5.1: noise alone beats it about once in forty."""
    law = fit_power_law(observed(power, 5, 3, 0.01, draw))
    assert not law.asymptotic and "AICc" in law.why


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "seeds"), [(3, 1), (3, 2), (3, 3), (5, 1)])
def test_intervals_cover_the_planted_exponent(sizes: int, seeds: int) -> None:
    """Of 120 draws 114 are expected to, give or take 2.4."""
    covered = 0
    for draw in range(120):
        low, high = fit_power_law(observed(power, sizes, seeds, 0.01, draw)).intervals()["b"]
        covered += low <= 0.06 <= high
    assert covered >= 108


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "seeds"), [(3, 2), (3, 4), (6, 1)])
def test_intervals_are_as_wide_as_students(sizes: int, seeds: int) -> None:
    """Their mean width over draws against ±t·σ/√Sxx. The spread of the seeds has N − S degrees, of residuals N − 2."""
    x = np.repeat(np.log(SIZES[:sizes]), seeds)
    degrees = len(x) - (sizes if seeds > 1 else 2)
    expected = 2 * stats.t.ppf(0.975, degrees) * 0.01 / math.sqrt(np.sum((x - x.mean()) ** 2))
    laws = [fit_power_law(observed(power, sizes, seeds, 0.01, draw)) for draw in range(30)]
    usual = [law for law in laws if not law.asymptotic and ("seeds" in law.why) == (seeds > 1)]
    assert len(usual) > 22
    widths = [np.subtract(*law.intervals()["b"][::-1]) for law in usual]
    assert np.mean(widths) == pytest.approx(expected, rel=0.25)


def test_if_seeds_do_not_explain_the_misfit_residuals_are_resampled() -> None:
    """Three sizes 5 % off a line, with seeds that differ by 0.1 %: the line's exponent is not known to 0.1 %."""
    bent = [(c, seed, loss * (1.05 if c == 4e6 else 1)) for c, seed, loss in observed(power, 3, 3, 0.001)]
    law = fit_power_law(bent)
    assert law.why.endswith("intervals from how far the sizes lie off the law")
    assert fit_power_law(observed(power, 3, 3, 0.001)).why.endswith("intervals from the spread of the seeds")
    low, high = law.intervals()["b"]
    assert high - low > 0.05


def test_the_order_of_the_observations_does_not_matter_and_resamples_are_deterministic() -> None:
    observations = observed(saturating, 4, 3, 0.01)
    shuffled = [observations[place] for place in np.random.default_rng(5).permutation(len(observations))]
    one, other = fit_power_law(observations), fit_power_law(shuffled)
    assert one.theta.tobytes() == other.theta.tobytes() and one.why == other.why


def test_arms_with_equal_seeds_draw_equal_resamples() -> None:
    """An effect of a seed that is equal in two arms does not change the ratio of their losses."""
    one = observed(power, 3, 3, 0.02)
    other = [(size, seed, 1.25 * loss) for size, seed, loss in one]
    place = np.array([4e6])
    ratio = fit_power_law(other).log_loss(place) - fit_power_law(one).log_loss(place)
    assert ratio == pytest.approx(math.log(1.25), abs=1e-9)


def test_growth_inverts_the_law() -> None:
    for curve in (power, saturating):
        law = fit_power_law(observed(curve, 6, 1))
        growth = np.exp(law.log_growth(np.full(len(law.theta), math.log(curve(7e8))), 1e7))
        assert growth == pytest.approx(70, rel=1e-5)


def test_a_loss_that_the_law_never_reaches_needs_infinite_growth() -> None:
    law, rising = fit_power_law(observed(saturating, 6, 1)), fit_power_law(observed(lambda size: 2 * size**0.1, 4, 1))
    rows = np.ones(len(law.theta))
    assert np.all(law.log_growth(math.log(1.6) * rows, 1e7) == np.inf)
    assert np.all(rising.log_growth(math.log(5) * rows, 1e6) == np.inf)  # it is 7.96 there, and less only below
    assert np.all(rising.log_growth(math.log(9) * rows, 1e6) == -np.inf)


def test_an_interval_may_contain_infinities() -> None:
    assert interval(np.array([-np.inf, *range(1, 99), np.inf])) == (2, 97)
    assert interval(np.array([*range(96), *[np.inf] * 4])) == (2, np.inf)
