"""Clean batches in this process or in several, in order, with a bounded number on the way."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

from palimpsest.corpus.clean import Cleaned, Cleaner, Rules
from palimpsest.corpus.records import Batch
from palimpsest.corpus.stream import Task
from palimpsest.errors import DataError

# Input for which a process is worth the seconds that it takes to start.
_BYTES_A_PROCESS = 1 << 20
_cleaner: Cleaner | None = None
Result = tuple[Task, Cleaned | None]


def clean_all(tasks: Iterable[Task], rules: Rules, workers: int, total_bytes: int) -> Iterator[Result]:
    """Each task with what became of its batch, in order, by up to ``workers`` processes with two batches each.

    Raises DataError when a worker is killed, which mostly means that memory ran out.
    """
    processes = min(workers, 1 + total_bytes // _BYTES_A_PROCESS)
    if processes == 1:
        cleaner = Cleaner(rules)
        for task in tasks:
            yield task, None if task.batch is None else cleaner.clean(task.batch, task.source)
        return
    # Spawned, not forked: threads of the Arrow and NumPy libraries do not survive a fork.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start, initargs=(rules,))
    try:
        pending: deque[tuple[Task, Future[Cleaned] | None]] = deque()
        for task in tasks:
            pending.append((task, None if task.batch is None else pool.submit(_clean, task.batch, task.source)))
            if len(pending) >= 2 * processes:
                yield _finished(pending)
        while pending:
            yield _finished(pending)
    except BrokenProcessPool:
        raise DataError(
            f"{rules.language}: a cleaning process was killed, most likely for memory; "
            "give the job more memory or fewer threads"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(pending: deque[tuple[Task, Future[Cleaned] | None]]) -> Result:
    task, future = pending.popleft()
    return task, None if future is None else future.result()


def _start(rules: Rules) -> None:
    global _cleaner
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _cleaner = Cleaner(rules)


def _end_with_parent() -> None:
    """A worker waits for its next batch for ever when the parent was killed."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _clean(batch: Batch, source: str) -> Cleaned:
    assert _cleaner is not None
    return _cleaner.clean(batch, source)
