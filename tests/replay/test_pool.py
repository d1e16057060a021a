import numpy as np
import pytest
from scipy import stats

from palimpsest.artifact import read_json
from palimpsest.errors import ArtifactError
from palimpsest.replay import pool
from palimpsest.replay.pool import Balanced, Mixture, Order, Part
from palimpsest.tokens.sequences import Sequences

CONTEXT, BATCH = 16, 4


def parts(seed=0):
    return [Part(Order("en", 90, seed), 60), Part(Order("fr", 40, seed), 40), Part(Order("de", 500, seed), 20)]


def draws(source, count):
    which, sequences = source.draw(np.arange(count))
    return list(zip(which.tolist(), sequences.tolist(), strict=True))


def test_past_pool_holds_exactly_what_was_trained_on_and_repeats_nothing_before_all_is_drawn():
    trained = {
        (index, sequence)
        for index, part in enumerate(parts())
        for sequence in part.order(np.arange(part.used)).tolist()
    }
    drawn = draws(Mixture(parts(), 5), 360)
    for epoch in range(3):
        assert sorted(drawn[120 * epoch : 120 * (epoch + 1)]) == sorted(trained)
    assert drawn[:120] != drawn[120:240]


def test_past_draws_are_uniform_as_those_of_a_brute_force_reservoir():
    """How often each sequence is among the first 30 draws: ours and a reservoir's (algorithm R) are both flat."""
    size, wanted, runs = 120, 30, 1500
    ours, reservoir = np.zeros(size), np.zeros(size)
    starts = np.cumsum([0, 60, 40, 20])
    for seed in range(runs):
        mixture = Mixture(parts(), seed)
        inverse = [np.argsort(part.order(np.arange(part.order.sequences))) for part in mixture.parts]
        for which, sequence in draws(mixture, wanted):
            ours[starts[which] + inverse[which][sequence]] += 1
        rng, kept = np.random.default_rng(seed), list(range(wanted))
        for item in range(wanted, size):
            if (place := rng.integers(0, item + 1)) < wanted:
                kept[place] = item
        reservoir[kept] += 1
    # Draws without replacement vary less than independent ones, by the share that is left behind.
    for counts in (ours, reservoir):
        expected = runs * wanted / size
        statistic = ((counts - expected) ** 2 / expected).sum() / (1 - wanted / size)
        assert stats.chi2.sf(statistic, size - 1) > 1e-3
    assert stats.ks_2samp(ours, reservoir).pvalue > 1e-3


def test_a_random_place_in_the_epoch_is_uniform_over_sequences():
    first = np.array([draws(Mixture(parts(), seed), 1)[0][0] for seed in range(3000)])
    assert stats.chisquare(np.bincount(first, minlength=3), [1500, 1000, 500]).pvalue > 1e-3


def test_balanced_pool_takes_every_language_equally_often():
    which, sequences = Balanced(parts(), 5).draw(np.arange(300))
    assert np.bincount(which).tolist() == [100, 100, 100]
    smallest = sequences[which == 2]
    assert len(set(smallest[:20].tolist())) == 20
    assert set(smallest.tolist()) == set(parts()[2].order(np.arange(20)).tolist())


def test_an_order_shuffles_each_epoch_anew_and_differs_by_language_and_seed():
    order = Order("en", 50, 1)
    epochs = order(np.arange(100)).reshape(2, 50)
    assert np.array_equal(np.sort(epochs), np.tile(np.arange(50), (2, 1)))
    assert not np.array_equal(epochs[0], epochs[1])
    for other in (Order("fr", 50, 1), Order("en", 50, 2)):
        assert not np.array_equal(other(np.arange(50)), epochs[0])


def spec(**changes):
    past = [
        {"language": "en", "budget": 24, "rate": "0", "accounting": "add"},
        {"language": "fr", "budget": 24, "rate": "0.25", "accounting": "replace"},
    ]
    values = {"stage": 3, "seed": 1, "context_length": CONTEXT, "batch_size": BATCH, "budget": 24, "past": past}
    return values | {"rate": "0.25", "accounting": "add", "scope": "past", "revision": 1} | changes


def test_build_and_load(tokens, tmp_path):
    manifest = pool.build(spec(), tokens, tmp_path)
    used = [source["used"] for source in read_json(tmp_path / "pool.json")["sources"]]
    assert used == [24, 18]  # replace: a quarter of the 24 were replayed
    assert manifest.counts["sequences"] == 42
    assert manifest.counts["draws"] == 7  # 24 new sequences: T = ⌊23/0.75⌋ + 1 = 31
    sequences = {language: Sequences(folder, "train", CONTEXT) for language, folder in tokens.items()}
    loaded = pool.load(tmp_path, sequences)
    by_hand = Mixture(
        [Part(Order("en", len(sequences["en"]), 1), 24), Part(Order("fr", len(sequences["fr"]), 1), 18)], 0
    )
    assert sorted(draws(loaded, 42)) == sorted(draws(by_hand, 42))


def test_a_pool_of_other_shards_is_refused(tokens, tmp_path):
    pool.build(spec(), tokens, tmp_path)
    with pytest.raises(ArtifactError, match="made for"):
        pool.load(tmp_path, {language: Sequences(folder, "train", 8) for language, folder in tokens.items()})
