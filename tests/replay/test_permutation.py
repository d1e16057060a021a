import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from palimpsest.replay.permutation import Permutation, derive_key


@given(n=st.integers(1, 20_000), key=st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_is_a_bijection(n: int, key: int) -> None:
    image = Permutation(n, key)(np.arange(n))
    assert np.array_equal(np.sort(image), np.arange(n))


def test_does_not_depend_on_how_positions_are_batched() -> None:
    whole = Permutation(10_007, 3)(np.arange(10_007))
    rng = np.random.default_rng(0)
    for _ in range(20):
        some = rng.integers(0, 10_007, size=rng.integers(1, 50))
        assert np.array_equal(Permutation(10_007, 3)(some), whole[some])


@pytest.mark.parametrize("n", [6, 5000])
def test_every_position_is_equally_likely(n: int) -> None:
    """Over many keys, a position's image is uniform, and so is the distance between two neighbours' images."""
    images = np.array([Permutation(n, derive_key("test", key))(np.array([0, 1])) for key in range(3000)])
    cells = min(n, 50)
    for values in (images[:, 0], images[:, 1], (images[:, 1] - images[:, 0]) % n - (n == 6)):
        cell = values * cells // n if n > cells else values
        possible = cells - 1 if n == 6 and values is not images[:, 0] and values.max() < n - 1 else cells
        assert stats.chisquare(np.bincount(cell, minlength=possible)).pvalue > 1e-4


def test_positions_and_images_are_uncorrelated() -> None:
    n = 100_000
    image = Permutation(n, 9)(np.arange(n))
    assert abs(np.corrcoef(np.arange(n), image)[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(image[:-1], image[1:])[0, 1]) < 4 / np.sqrt(n)


def test_fifty_million_positions_take_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image = Permutation(50_000_000, 1)(np.arange(49_900_000, 50_000_000))
    assert len(np.unique(image)) == 100_000 and image.max() < 50_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB; an array of them all has 390,625


def test_refuses_positions_and_sizes_out_of_range() -> None:
    with pytest.raises(IndexError):
        Permutation(5, 0)(np.array([5]))
    with pytest.raises(ValueError, match="at least one"):
        Permutation(0, 0)
