"""Cleans batches in this process or in several, in order, with a bounded number in flight."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

from palimpsest.corpus.cleaning.cleaner import CleanedBatch, Cleaner, CleaningRules
from palimpsest.corpus.reading.batch_stream import StreamItem
from palimpsest.corpus.reading.records import Batch
from palimpsest.errors import DataError

# Input for which a process is worth the seconds that it takes to start.
_BYTES_PER_PROCESS = 1 << 20
_cleaner: Cleaner | None = None


@dataclass(frozen=True, kw_only=True)
class CleanedItem:
    """An item of the stream and the result of its batch; None for a bad file."""

    item: StreamItem
    result: CleanedBatch | None


def clean_batches(
    items: Iterable[StreamItem], rules: CleaningRules, workers: int, total_bytes: int
) -> Iterator[CleanedItem]:
    """Clean the batches of all items, in order, with up to ``workers`` processes of two batches each.

    Raises DataError when a worker is killed, which mostly means that memory ran out.
    """
    processes = min(workers, 1 + total_bytes // _BYTES_PER_PROCESS)
    if processes == 1:
        cleaner = Cleaner(rules)
        for item in items:
            yield CleanedItem(item=item, result=None if item.batch is None else cleaner.clean(item.batch, item.source))
        return
    # Spawned, not forked: threads of the Arrow and NumPy libraries do not survive a fork.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start, initargs=(rules,))
    try:
        pending: deque[tuple[StreamItem, Future[CleanedBatch] | None]] = deque()
        for item in items:
            pending.append((item, None if item.batch is None else pool.submit(_clean, item.batch, item.source)))
            if len(pending) >= 2 * processes:
                yield _oldest(pending)
        while pending:
            yield _oldest(pending)
    except BrokenProcessPool:
        raise DataError(
            f"{rules.language}: a cleaning process was killed, most likely because memory ran out; "
            "give the job more memory or fewer threads"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _oldest(pending: deque[tuple[StreamItem, Future[CleanedBatch] | None]]) -> CleanedItem:
    item, future = pending.popleft()
    return CleanedItem(item=item, result=None if future is None else future.result())


def _start(rules: CleaningRules) -> None:
    global _cleaner
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _cleaner = Cleaner(rules)


def _exit_with_parent() -> None:
    """Exit when the parent was killed: a worker would wait for its next batch for ever."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _clean(batch: Batch, source: str) -> CleanedBatch:
    assert _cleaner is not None
    return _cleaner.clean(batch, source)
