"""The batches of a stage: a pure function of the step, so that a resumed run goes on with the batch it missed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.replay.pool_plan import open_pool
from palimpsest.replay.samplers import OrderPrefix, Sampler, SequenceOrder, new_sequences
from palimpsest.replay.schedule import Schedule
from palimpsest.settings.replay import ReplayShare
from palimpsest.tokens.sequences import Sequences

Rows = tuple[np.ndarray, np.ndarray]


def share(sequences: int, rank: int, ranks: int) -> range:
    """The places in a batch of what process ``rank`` of ``ranks`` takes: contiguous, equally many to within one."""
    return range(sequences * rank // ranks, sequences * (rank + 1) // ranks)


class Batches:
    """``batches[step]`` for a stage's spec; ``pool`` is None in a stage that replays nothing."""

    def __init__(self, spec: dict[str, Any], tokens: dict[str, Path], pool: Path | None) -> None:
        train, replay = spec["train"], spec["replay"] or {"rate": "0", "accounting": "add"}
        self.context_length: int = train["context_length"]
        self.schedule = Schedule.for_budget(
            sum(new["budget"] for new in spec["new"]),
            batch_size=train["batch_size"],
            replay=ReplayShare(rate=Decimal(replay["rate"]), accounting=replay["accounting"]),
        )
        languages = dict.fromkeys(past["language"] for past in [*spec["new"], *spec["past"]])
        self._sequences = {
            language: Sequences(tokens[language], "train", self.context_length) for language in languages
        }
        # Joint training replays nothing: its budgets are what it draws. A stage draws what replay leaves of its own.
        drawn = [new["budget"] for new in spec["new"]] if len(spec["new"]) > 1 else [self.schedule.new]
        parts = [
            OrderPrefix(SequenceOrder(new["language"], len(self._sequences[new["language"]]), spec["seed"]), used)
            for new, used in zip(spec["new"], drawn, strict=True)
        ]
        # By language, how often the stage goes through its new text.
        self.epochs = {part.order.language: part.used / part.order.sequences for part in parts}
        self._new = new_sequences(parts, spec["seed"], spec["stage"])
        self._pool = open_pool(pool, self._sequences) if pool else None

    def __len__(self) -> int:
        return self.schedule.steps

    def __getitem__(self, step: int) -> Rows:
        """Token ids int64 [sequences, context_length + 1], and which sequences are replayed, bool [sequences]."""
        return self.share(step, 0, 1)

    def share(self, step: int, rank: int, ranks: int) -> Rows:
        """The rows of batch ``step`` that process ``rank`` trains on, and which of the *whole* batch are replayed."""
        batch = self.schedule.batch(step)
        places = share(len(batch.is_replayed), rank, ranks)
        is_replayed = batch.is_replayed[places.start : places.stop]
        # The ordinals go on through the batch, so those before this share are counted off.
        old_before, old = int(batch.is_replayed[: places.start].sum()), int(is_replayed.sum())
        new_before, new = places.start - old_before, len(places) - old
        rows = np.empty((len(places), self.context_length + 1), dtype=np.int64)
        rows[~is_replayed] = self._read(self._new, batch.new[new_before : new_before + new])
        if self._pool:
            rows[is_replayed] = self._read(self._pool, batch.replayed[old_before : old_before + old])
        return rows, batch.is_replayed

    def ahead(self, start: int, rank: int, ranks: int) -> Iterator[Rows]:
        """What ``share`` returns, of every step from ``start``; a thread reads the next while one is trained on."""
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.share, start, rank, ranks)
            for step in range(start + 1, len(self) + 1):
                rows = coming.result()
                if step < len(self):
                    coming = reader.submit(self.share, step, rank, ranks)
                yield rows

    def _read(self, source: Sampler, ordinals: range) -> np.ndarray:
        which, sequences = source.draw(np.arange(ordinals.start, ordinals.stop, dtype=np.int64))
        rows = np.empty((len(which), self.context_length + 1), dtype=np.int64)
        for index, part in enumerate(source.prefixes):
            chosen = which == index
            rows[chosen] = self._sequences[part.order.language].read(sequences[chosen])
        return rows

    def ledger(self, flops_per_token: int) -> dict[str, int]:
        """What the stage costs: sequences, tokens and training FLOPs, new and replayed apart."""
        new, replayed = self.schedule.new, self.schedule.replayed
        return {
            "steps": self.schedule.steps,
            "new_sequences": new,
            "replayed_sequences": replayed,
            "new_tokens": new * self.context_length,
            "replayed_tokens": replayed * self.context_length,
            "total_tokens": (new + replayed) * self.context_length,
            "flops": (new + replayed) * self.context_length * flops_per_token,
        }
