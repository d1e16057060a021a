"""Loss against compute per token: a power law and its uncertainty.

L(C) = A·C^(−b), a straight line in log-log, or with an asymptote L(C) = E + A·C^(−b) (Hestness et al. 2017; Hoffmann et
al. 2022, section 3.3). Both are fitted by least squares of log L, so that they are compared on one scale. C is divided
by its geometric mean, which makes log A and b nearly uncorrelated. Equal observations give equal bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

RESAMPLES = 2000
MIN_SIZES = 3  # two parameters and one degree of freedom
_MIN_RUNS_FOR_ASYMPTOTE = 6  # AICc needs more than two runs beyond the parameters, the asymptote among them
_ROUNDING = 1e-9  # misfit of log L from rounding alone: differences below it are meaningless
_LACK_OF_FIT_LEVEL = 0.05  # p value below which the sizes miss the law by more than the seeds explain
_LARGEST_EXPONENT = 700.0  # exp() of it is still finite

Observation = tuple[float, int, float]
"""(training FLOPs per token C, seed, loss)."""


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A fitted law. Row 0 of ``theta`` is the estimate; the other rows are those of the resamples.

    theta: (1 + resamples, 3): log E (−inf without asymptote), log A at the geometric mean of C, b. ``centre``: the log
    of that mean. ``why``: how the law was chosen, and where its uncertainty comes from.
    """

    theta: np.ndarray
    centre: float
    why: str

    @property
    def asymptotic(self) -> bool:
        return bool(np.isfinite(self.theta[0, 0]))

    @property
    def text(self) -> str:
        return "L = E + A·C^(−b)" if self.asymptotic else "L = A·C^(−b)"

    def log_loss(self, flops: np.ndarray) -> np.ndarray:
        """log L at each C: (1 + resamples, number of C)."""
        return _log_loss(self.theta, np.log(flops) - self.centre)

    def log_growth(self, log_loss: np.ndarray, flops: float) -> np.ndarray:
        """log C'/C for each row of theta, where C' is the compute at which the law reaches ``log_loss``.

        +inf if the law never falls to that loss; −inf if it does not fall and is already below that loss at C.
        """
        asymptote, scale, exponent = self.theta.T
        with np.errstate(invalid="ignore", divide="ignore"):
            term = log_loss + np.log1p(-np.exp(asymptote - log_loss))
            reached = (scale - term) / exponent + self.centre - np.log(flops)
        below = self.log_loss(np.array([flops]))[:, 0] <= log_loss
        never = np.where((exponent <= 0) & below, -np.inf, np.inf)
        return np.where((exponent > 0) & (asymptote < log_loss), reached, never)

    def coefficients(self) -> dict[str, float]:
        """E in nats per token, A in nats per token · FLOPs^b, b without unit."""
        return {name: float(values[0]) for name, values in self._plain().items()}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of the coefficients."""
        return {name: interval(values[1:]) for name, values in self._plain().items()}

    def _plain(self) -> dict[str, np.ndarray]:
        asymptote, scale, exponent = self.theta.T
        plain = {"A": _exp(scale + exponent * self.centre), "b": exponent}
        return ({"E": _exp(asymptote)} if self.asymptotic else {}) | plain


def interval(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of resampled values; an order statistic, so infinities are allowed."""
    low, high = np.quantile(values, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """Observations grouped by size: x = log C − centre, mean log loss, number of seeds, and the seeds' deviations."""

    x: np.ndarray
    mean: np.ndarray
    count: np.ndarray
    deviations: list[np.ndarray]
    centre: float

    @property
    def points(self) -> int:
        return int(self.count.sum())

    @property
    def within(self) -> float:
        """Sum of squares within sizes, which no law in size alone can explain."""
        return float(sum(np.sum(deviation**2) for deviation in self.deviations))

    def misfit(self, theta: np.ndarray) -> float:
        """Sum of squares of the deviations of the sizes' means from the law."""
        return float(np.sum(self.count * (self.mean - _log_loss(theta, self.x)[0]) ** 2))


def fit_power_law(observations: Sequence[Observation]) -> PowerLaw:
    """Fit at least ``MIN_SIZES`` sizes; with an asymptote only if AICc prefers it.

    The order of the observations does not matter. Losses and C must be positive.
    """
    observations = sorted(observations)
    sizes = _by_size(observations)
    theta, why = _choose(sizes)
    # Arms with equal sizes and seeds draw equal resamples, so that the effect of a shared seed cancels in ratios.
    design = repr([(flops, seed) for flops, seed, _ in observations]).encode()
    drawn, source = _resample(sizes, theta, int.from_bytes(hashlib.sha256(design).digest()[:8]))
    refitted = (_asymptotic if np.isfinite(theta[0, 0]) else _straight)(sizes, drawn)
    return PowerLaw(theta=np.concatenate([theta, refitted]), centre=sizes.centre, why=f"{why}; {source}")


def _by_size(observations: Sequence[Observation]) -> _Sizes:
    flops, size_of = np.unique([flops for flops, _, _ in observations], return_inverse=True)
    losses = np.log([loss for _, _, loss in observations])
    by_size = [losses[size_of == size] for size in range(len(flops))]
    centre = float(np.mean(np.log(flops)[size_of]))
    mean = np.array([np.mean(values) for values in by_size])
    return _Sizes(
        x=np.log(flops) - centre,
        mean=mean,
        count=np.array([len(values) for values in by_size]),
        deviations=[values - middle for values, middle in zip(by_size, mean, strict=True)],
        centre=centre,
    )


def _choose(sizes: _Sizes) -> tuple[np.ndarray, str]:
    """The estimate of the law that the data prefer, and the reason."""
    straight = _straight(sizes, sizes.mean[None])
    if len(sizes.x) <= MIN_SIZES:
        return straight, f"{len(sizes.x)} sizes cannot distinguish an asymptote E from a smaller exponent"
    if sizes.points < _MIN_RUNS_FOR_ASYMPTOTE:
        return straight, f"{sizes.points} runs are too few to detect an asymptote E by AICc"
    asymptotic = _asymptotic(sizes, sizes.mean[None])
    two, three = _aicc(sizes, straight, 2), _aicc(sizes, asymptotic, 3)
    better = three < two
    compared = f"AICc {three:.1f} with an asymptote E, {two:.1f} without"
    return (asymptotic if better else straight), compared


def _aicc(sizes: _Sizes, theta: np.ndarray, parameters: int) -> float:
    """Akaike's criterion, corrected for small samples (Hurvich and Tsai 1989); the variance is a parameter too."""
    points, free = sizes.points, parameters + 1
    squares = max(sizes.misfit(theta) + sizes.within, points * _ROUNDING**2)
    return float(points * np.log(squares / points) + 2 * free + 2 * free * (free + 1) / (points - free - 1))


def _resample(sizes: _Sizes, theta: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Resampled mean log losses, (resamples, sizes), and which bootstrap they come from.

    The deviations of seeds from the mean of their size are resampled from all sizes pooled, since two seeds alone say
    little. If a size has only one seed, or the means miss the law by more than the seeds explain, the residuals of the
    means are resampled instead. Each resample's deviations are scaled by √(d/χ²), with χ² drawn with their d degrees of
    freedom, so that few degrees of freedom widen an interval as Student's t does.
    """
    parameters = 3 if np.isfinite(theta[0, 0]) else 2
    size_freedom, seed_freedom = len(sizes.x) - parameters, sizes.points - len(sizes.x)
    if sizes.count.min() > 1 and not _lacks_fit(sizes, theta, size_freedom, seed_freedom):
        rng = np.random.default_rng([seed, 0])
        scale = np.sqrt(seed_freedom / rng.chisquare(seed_freedom, RESAMPLES))
        # Deviations from the sample mean have (n − 1)/n of the variance: scale them up.
        lifted = [values * np.sqrt(len(values) / (len(values) - 1)) for values in sizes.deviations]
        drawn = np.concatenate(lifted)[rng.integers(sizes.points, size=(RESAMPLES, sizes.points))]
        moved = np.add.reduceat(drawn, np.cumsum(sizes.count) - sizes.count, axis=1) / sizes.count
        return sizes.mean + scale[:, None] * moved, "intervals from the spread of the seeds"
    rng = np.random.default_rng([seed, 1])
    fitted = _log_loss(theta, sizes.x)[0]
    residuals = (sizes.mean - fitted) * np.sqrt(sizes.count)
    scale = np.sqrt(len(sizes.x) / rng.chisquare(size_freedom, RESAMPLES))  # residuals: (S − p)/S too small
    moved = residuals[rng.integers(len(residuals), size=(RESAMPLES, len(residuals)))] / np.sqrt(sizes.count)
    return fitted + scale[:, None] * moved, "intervals from how far the sizes lie off the law"


def _lacks_fit(sizes: _Sizes, theta: np.ndarray, size_freedom: int, seed_freedom: int) -> bool:
    """The F test of lack of fit: True if the means of the sizes miss the law by more than the seeds explain."""
    ratio = (sizes.misfit(theta) / size_freedom) / max(sizes.within / seed_freedom, _ROUNDING**2)
    return bool(fdtrc(size_freedom, seed_freedom, ratio) < _LACK_OF_FIT_LEVEL)


def _log_loss(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    log_loss: np.ndarray = np.logaddexp(theta[:, :1], theta[:, 1:2] - theta[:, 2:] * x)
    return log_loss


def _straight(sizes: _Sizes, y: np.ndarray) -> np.ndarray:
    """theta of A·C^(−b) for each row of ``y``: weighted least squares; x has the weighted mean 0."""
    scale = y @ sizes.count / sizes.points
    exponent = y @ (sizes.count * sizes.x) / np.sum(sizes.count * sizes.x**2)
    return np.stack([np.full(len(y), -np.inf), scale, -exponent], axis=1)


def _asymptotic(sizes: _Sizes, y: np.ndarray) -> np.ndarray:
    """theta of E + A·C^(−b) for each row of ``y``: the best of three fits, from E at fractions of the least loss."""
    fractions = np.log([0.1, 0.5, 0.9])
    asymptote = (y.min(axis=1) + fractions[:, None]).ravel()
    rows = np.tile(y, (len(fractions), 1))
    start = _straight(sizes, np.log(np.exp(rows) - np.exp(asymptote)[:, None]))
    theta, squares = _levenberg_marquardt(sizes, rows, np.column_stack([asymptote, start[:, 1:]]))
    best = squares.reshape(len(fractions), -1).argmin(axis=0)
    found: np.ndarray = theta.reshape(len(fractions), len(y), 3)[best, np.arange(len(y))]
    return found


def _levenberg_marquardt(sizes: _Sizes, y: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimise all rows at once: theta, and the weighted sum of squares there.

    SciPy's least_squares fits one problem per call, and there are thousands of resamples.
    """
    damping = np.full(len(y), 1e-3)
    squares = _squares(sizes, y, theta)
    for _ in range(200):
        power = np.exp(theta[:, 1:2] - theta[:, 2:] * sizes.x - _log_loss(theta, sizes.x))  # its fraction of the loss
        jacobian = np.stack([1 - power, power, -power * sizes.x], axis=2)
        weighted = np.swapaxes(jacobian, 1, 2) * sizes.count
        normal = weighted @ jacobian
        diagonal = np.einsum("rii->ri", normal)
        lifted = normal + np.eye(3) * (damping[:, None] * (diagonal + 1e-12))[:, None, :]
        step = np.linalg.solve(lifted, weighted @ (y - _log_loss(theta, sizes.x))[..., None])[..., 0]
        moved = theta + np.clip(step, -2, 2)
        after = _squares(sizes, y, moved)
        better = after < squares
        theta, squares = np.where(better[:, None], moved, theta), np.where(better, after, squares)
        damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-15, 1e10)
        if np.all((np.abs(step).max(axis=1) < 1e-12) | (damping > 1e6)):
            break
    return theta, squares


def _squares(sizes: _Sizes, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.sum(sizes.count * (y - _log_loss(theta, sizes.x)) ** 2, axis=1)
    return squares


def _exp(values: np.ndarray) -> np.ndarray:
    plain: np.ndarray = np.exp(np.clip(values, -_LARGEST_EXPONENT, _LARGEST_EXPONENT))
    return plain
