"""The batches of a stage: a pure function of the step, so that a resumed run continues with the batch it missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from palimpsest.replay.pool_plan import open_pool
from palimpsest.replay.samplers import Sampler, SequenceOrder, TrainingSubset, new_text_sampler
from palimpsest.replay.schedule import ReplaySchedule
from palimpsest.specs.training import TrainSpec
from palimpsest.tokens.sequences import Sequences


def rank_slice(total: int, rank: int, world_size: int) -> range:
    """The indices, of ``total``, that rank ``rank`` takes: contiguous, equally many to within one."""
    return range(total * rank // world_size, total * (rank + 1) // world_size)


class Batch(NamedTuple):
    """Token ids int64 [sequences, context_length + 1], and which of the *whole* batch are replayed, bool [sequences].

    The rows are those of the whole batch, or of one rank.
    """

    rows: np.ndarray
    is_replayed: np.ndarray


class Batches:
    """``batches[step]`` of a stage; ``pool`` is None in a stage that replays nothing."""

    def __init__(self, spec: TrainSpec, tokens: Mapping[str, Path], pool: Path | None) -> None:
        self.context_length = spec.train.context_length
        self.schedule = ReplaySchedule.for_budget(spec.budget, batch_size=spec.train.batch_size, replay=spec.replay)
        languages = dict.fromkeys(text.language for text in (*spec.new, *spec.past))
        self._sequences = {
            language: Sequences(tokens[language], "train", self.context_length) for language in languages
        }
        # Joint training replays nothing: it draws its budgets. Other stages draw what replay leaves of their own.
        drawn = [new.sequences for new in spec.new] if len(spec.new) > 1 else [self.schedule.new]
        subsets = [
            TrainingSubset(SequenceOrder(new.language, len(self._sequences[new.language]), spec.seed), used)
            for new, used in zip(spec.new, drawn, strict=True)
        ]
        # Language → how often the stage goes through its new text.
        self.epochs = {subset.order.language: subset.used / subset.order.sequences for subset in subsets}
        self._new = new_text_sampler(subsets, spec.seed, spec.stage)
        self._pool = open_pool(pool, self._sequences) if pool else None

    def __len__(self) -> int:
        return self.schedule.steps

    def __getitem__(self, step: int) -> Batch:
        """The whole batch ``step``."""
        return self.of_rank(step, 0, 1)

    def of_rank(self, step: int, rank: int, world_size: int) -> Batch:
        """The rows of batch ``step`` that rank ``rank`` trains on."""
        batch = self.schedule.batch(step)
        indices = rank_slice(len(batch.is_replayed), rank, world_size)
        is_replayed = batch.is_replayed[indices.start : indices.stop]
        # The batch's draw indices start at its first position, so those before this slice are skipped.
        replayed_before, replayed = int(batch.is_replayed[: indices.start].sum()), int(is_replayed.sum())
        new_before, new = indices.start - replayed_before, len(indices) - replayed
        rows = np.empty((len(indices), self.context_length + 1), dtype=np.int64)
        rows[~is_replayed] = self._read(self._new, batch.new[new_before : new_before + new])
        if self._pool:
            rows[is_replayed] = self._read(self._pool, batch.replayed[replayed_before : replayed_before + replayed])
        return Batch(rows, batch.is_replayed)

    def prefetch(self, start: int, rank: int, world_size: int) -> Iterator[Batch]:
        """``of_rank`` for every step from ``start``; a thread reads the next batch while one is trained on."""
        with ThreadPoolExecutor(1) as reader:
            pending = reader.submit(self.of_rank, start, rank, world_size)
            for step in range(start + 1, len(self) + 1):
                batch = pending.result()
                if step < len(self):
                    pending = reader.submit(self.of_rank, step, rank, world_size)
                yield batch

    def tokens_after(self, steps: int) -> int:
        """Tokens trained on in the first ``steps`` steps; the last batch may be short."""
        return min(steps * self.schedule.batch_size, self.schedule.total) * self.context_length

    def _read(self, sampler: Sampler, indices: range) -> np.ndarray:
        subset_index, sequences = sampler.draw(np.arange(indices.start, indices.stop, dtype=np.int64))
        rows = np.empty((len(sequences), self.context_length + 1), dtype=np.int64)
        for index, subset in enumerate(sampler.subsets):
            chosen = subset_index == index
            rows[chosen] = self._sequences[subset.order.language].read(sequences[chosen])
        return rows
