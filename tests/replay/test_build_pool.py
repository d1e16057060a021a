import dataclasses
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.training import train_spec, write_pool

from palimpsest.artifact import read_json
from palimpsest.errors import ArtifactError
from palimpsest.replay.build_pool import build_pool
from palimpsest.replay.permutation import derive_key
from palimpsest.replay.pool_plan import open_pool
from palimpsest.replay.reservoir import retained
from palimpsest.replay.samplers import (
    BalancedSampler,
    GrowingPoolSampler,
    ReservoirSampler,
    Sampler,
    SequenceOrder,
    ShuffledSampler,
    TrainingSubset,
    new_text_sampler,
)
from palimpsest.replay.schedule import ReplaySchedule
from palimpsest.settings.replay import Accounting, ReplayShare, ReplaySpec, Scope
from palimpsest.specs.data import NewText, PastText, PoolSpec
from palimpsest.specs.training import TrainSpec
from palimpsest.tokens.sequences import Sequences
from palimpsest.train.data import Batches

CONTEXT, BATCH = 16, 4
Folders = dict[str, Path]
Texts = dict[str, Sequences]


def subset(language: str, sequences: int, used: int, seed: int = 0) -> TrainingSubset:
    return TrainingSubset(SequenceOrder(language, sequences, seed), used)


def subsets() -> list[TrainingSubset]:
    return [subset("en", 90, 60), subset("fr", 40, 40), subset("de", 500, 20)]


def draws(source: Sampler, count: int) -> list[tuple[int, int]]:
    which, sequences = source.draw(np.arange(count))
    return list(zip(which.tolist(), sequences.tolist(), strict=True))


def test_past_pool_is_exactly_what_was_trained_on_and_repeats_nothing_within_an_epoch() -> None:
    trained = {
        (index, sequence)
        for index, part in enumerate(subsets())
        for sequence in part.order(np.arange(part.used)).tolist()
    }
    drawn = draws(ShuffledSampler(subsets(), 5), 360)
    for epoch in range(3):
        assert sorted(drawn[120 * epoch : 120 * (epoch + 1)]) == sorted(trained)
    assert drawn[:120] != drawn[120:240]


def test_past_draws_are_as_uniform_as_those_of_a_brute_force_reservoir() -> None:
    """How often each sequence is among the first 30 draws: ours and a reservoir's (algorithm R) are both flat."""
    size, wanted, runs = 120, 30, 1500
    ours, reservoir = np.zeros(size), np.zeros(size)
    starts = np.cumsum([0, 60, 40, 20])
    for seed in range(runs):
        sampler = ShuffledSampler(subsets(), seed)
        inverse = [np.argsort(part.order(np.arange(part.order.sequences))) for part in sampler.subsets]
        for which, sequence in draws(sampler, wanted):
            ours[starts[which] + inverse[which][sequence]] += 1
        rng, kept = np.random.default_rng(seed), list(range(wanted))
        for item in range(wanted, size):
            if (place := rng.integers(0, item + 1)) < wanted:
                kept[place] = item
        reservoir[kept] += 1
    # Draws without replacement vary less than independent ones, by the fraction that is not drawn.
    for counts in (ours, reservoir):
        expected = runs * wanted / size
        statistic = ((counts - expected) ** 2 / expected).sum() / (1 - wanted / size)
        assert stats.chi2.sf(statistic, size - 1) > 1e-3
    assert stats.ks_2samp(ours, reservoir).pvalue > 1e-3


def test_a_random_position_in_the_epoch_is_uniform_over_sequences() -> None:
    first = np.array([draws(ShuffledSampler(subsets(), seed), 1)[0][0] for seed in range(3000)])
    assert stats.chisquare(np.bincount(first, minlength=3), [1500, 1000, 500]).pvalue > 1e-3


def test_balanced_pool_draws_every_language_equally_often() -> None:
    which, sequences = BalancedSampler(subsets(), 5).draw(np.arange(300))
    assert np.bincount(which).tolist() == [100, 100, 100]
    smallest = sequences[which == 2]
    assert len(set(smallest[:20].tolist())) == 20
    assert set(smallest.tolist()) == set(subsets()[2].order(np.arange(20)).tolist())


def test_an_order_shuffles_each_epoch_and_differs_by_language_and_seed() -> None:
    order = SequenceOrder("en", 50, 1)
    epochs = order(np.arange(100)).reshape(2, 50)
    assert np.array_equal(np.sort(epochs), np.tile(np.arange(50), (2, 1)))
    assert not np.array_equal(epochs[0], epochs[1])
    for other in (SequenceOrder("fr", 50, 1), SequenceOrder("en", 50, 2)):
        assert not np.array_equal(other(np.arange(50)), epochs[0])


def share(rate: str, accounting: Accounting = "add") -> ReplayShare:
    return ReplayShare(rate=Decimal(rate), accounting=accounting)


PAST = (
    PastText(language="en", sequences=24, replay=None),
    PastText(language="fr", sequences=24, replay=share("0.25", "replace")),
)


def spec(
    scope: Scope = "past", capacity: int | None = None, stage: int = 3, past: tuple[PastText, ...] = PAST
) -> PoolSpec:
    return PoolSpec(
        stage=stage,
        seed=1,
        context_length=CONTEXT,
        batch_size=BATCH,
        new=NewText(language="de", sequences=24),
        past=past,
        replay=ReplaySpec(rate=Decimal("0.25"), scope=scope, capacity=capacity),
    )


def test_build_and_load(tokens: Folders, tmp_path: Path) -> None:
    manifest = build_pool(spec(), tokens, tmp_path)
    used = [source["used"] for source in read_json(tmp_path / "pool.json")["sources"]]
    assert used == [24, 18]  # replace: a quarter of the 24 were replayed
    assert manifest.counts["sequences"] == 42
    assert manifest.counts["draws"] == 7  # 24 new sequences: T = ⌊23/0.75⌋ + 1 = 31
    sequences = {language: Sequences(folder, "train", CONTEXT) for language, folder in tokens.items()}
    loaded = open_pool(tmp_path, sequences)
    by_hand = ShuffledSampler(
        [subset("en", len(sequences["en"]), 24, seed=1), subset("fr", len(sequences["fr"]), 18, seed=1)], 0
    )
    assert sorted(draws(loaded, 42)) == sorted(draws(by_hand, 42))


def test_a_pool_for_different_shards_is_refused(tokens: Folders, tmp_path: Path) -> None:
    build_pool(spec(), tokens, tmp_path)
    with pytest.raises(ArtifactError, match="built for"):
        open_pool(tmp_path, {language: Sequences(folder, "train", 8) for language, folder in tokens.items()})


def training_sequences(tokens: Folders, language: str) -> set[bytes]:
    """Every training sequence, sliced from the shard by hand."""
    ids = np.frombuffer((tokens[language] / "train-00000.bin").read_bytes(), "<u2").astype(np.int64)
    return {ids[at : at + CONTEXT + 1].tobytes() for at in range(0, len(ids) - CONTEXT, CONTEXT)}


@pytest.fixture
def sequences(tokens: Folders) -> dict[str, Sequences]:
    return {language: Sequences(folder, "train", CONTEXT) for language, folder in tokens.items()}


def test_a_reservoir_is_a_subset_of_what_was_trained_on(tokens: Folders, sequences: Texts, tmp_path: Path) -> None:
    whole = build_pool(spec(), tokens, tmp_path / "whole")
    assert whole.counts["sequences"] == 42
    trained = set(draws(open_pool(tmp_path / "whole", sequences), 42))
    manifest = build_pool(spec(scope="capacity", capacity=15), tokens, tmp_path / "some")
    assert manifest.counts["sequences"] == 15 and set(manifest.files) == {"pool.json", "reservoir.npy"}
    drawn = draws(open_pool(tmp_path / "some", sequences), 45)
    held = set(drawn[:15])
    assert len(held) == 15 and held < trained
    assert all(set(drawn[at : at + 15]) == held for at in (15, 30))  # each once before any again
    build_pool(spec(scope="capacity", capacity=100), tokens, tmp_path / "all")
    assert set(draws(open_pool(tmp_path / "all", sequences), 42)) == trained


def test_a_reservoir_persists_from_stage_to_stage(tokens: Folders, sequences: Texts, tmp_path: Path) -> None:
    """What the third stage retains of the first language, the second retained too."""
    held = {}
    for stage in (2, 3):
        pool_spec = spec("capacity", 15, stage=stage, past=PAST[: stage - 1])
        build_pool(pool_spec, tokens, tmp_path / str(stage))
        held[stage] = set(draws(open_pool(tmp_path / str(stage), sequences), 15))
    assert 0 < len([draw for draw in held[3] if draw[0] == 0]) < 15
    assert {draw for draw in held[3] if draw[0] == 0} < held[2]


def test_every_past_sequence_is_equally_likely_to_be_drawn_from_a_reservoir() -> None:
    runs, wanted, size = 3000, 10, 120
    counts = np.zeros(size)
    starts = np.cumsum([0, 60, 40, 20])
    for seed in range(runs):
        sampler = ReservoirSampler(subsets(), seed, retained(size, 15, derive_key(seed, "reservoir")))
        for which, sequence in draws(sampler, wanted):
            part = sampler.subsets[which]
            counts[starts[which] + np.flatnonzero(part.order(np.arange(part.used)) == sequence)[0]] += 1
    expected = runs * wanted / size
    statistic = ((counts - expected) ** 2 / expected).sum() / (1 - wanted / size)
    assert stats.chi2.sf(statistic, size - 1) > 1e-3


def fr_after_en(replay: ReplaySpec | None) -> TrainSpec:
    """A second stage of 40 sequences of French, after 12 of English."""
    spec = train_spec(2, "fr", past=["en"], replay=replay, sequences=40, batch_size=BATCH, context_length=CONTEXT)
    return dataclasses.replace(spec, seed=1, past=(PastText(language="en", sequences=12, replay=None),))


@pytest.mark.parametrize("scope", ["past", "balanced", "seen", "capacity"])
def test_only_earlier_training_text_is_replayed(tokens: Folders, tmp_path: Path, scope: Scope) -> None:
    spec = fr_after_en(ReplaySpec(rate=Decimal("0.4"), scope=scope, capacity=7 if scope == "capacity" else None))
    batches = Batches(spec, tokens, write_pool(spec, tokens, tmp_path))
    before = train_spec(1, "en", sequences=12, batch_size=BATCH, context_length=CONTEXT)
    first = Batches(dataclasses.replace(before, seed=1), tokens, None)
    allowed = {row.tobytes() for step in range(len(first)) for row in first[step][0]}
    assert allowed <= training_sequences(tokens, "en") and len(allowed) == 12
    own = 0
    for step in range(len(batches)):
        rows, old = batches[step]
        for row in rows[old]:
            assert row.tobytes() in allowed
            own += row.tobytes() in training_sequences(tokens, "fr")
        if scope == "seen":  # only after the batch: not a sequence of the same batch
            allowed |= {row.tobytes() for row in rows[~old]}
    assert (own > 0) == (scope == "seen")


def test_seen_draws_are_uniform_over_past_and_own_sequences() -> None:
    """The last replayed draw of batch 5, over many seeds: 60, 40 and 20 past sequences, 15 of the stage itself."""
    schedule = ReplaySchedule.for_budget(24, batch_size=BATCH, replay=share("0.25"))
    index = np.array([schedule.batch(5).replayed.stop - 1])
    assert schedule.new_before(index) == [15]
    counts: dict[tuple[int, int], int] = {}
    for seed in range(5000):
        own = new_text_sampler([TrainingSubset(SequenceOrder("ar", 300, seed), schedule.new)], seed, 4)
        sampler = GrowingPoolSampler(subsets(), derive_key(seed, "pool"), own, schedule)
        which, sequence = (int(drawn[0]) for drawn in sampler.draw(index))
        part = subsets()[which] if which < 3 else None
        known = part.order(np.arange(part.used)) if part else own.draw(np.arange(15)).sequences
        position = which, int(np.flatnonzero(known == sequence)[0])
        counts[position] = counts.get(position, 0) + 1
    assert len(counts) == 120 + 15
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_seen_is_a_pure_function_of_the_draw_index(tokens: Folders, sequences: Texts, tmp_path: Path) -> None:
    build_pool(spec(scope="seen"), tokens, tmp_path)
    loaded = open_pool(tmp_path, sequences)
    whole = draws(loaded, 7)
    assert [draw_at(open_pool(tmp_path, sequences), at) for at in reversed(range(7))] == whole[::-1]


def draw_at(source: Sampler, index: int) -> tuple[int, int]:
    which, sequence = source.draw(np.array([index]))
    return int(which[0]), int(sequence[0])
