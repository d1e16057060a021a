"""Clean batches in this process or in several, in order, with a bounded number on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from palimpsest.corpus.clean import Cleaned, Cleaner
from palimpsest.corpus.read import Batch
from palimpsest.errors import DataError

# Input for which a process is worth the seconds that it takes to start.
_BYTES_A_PROCESS = 1 << 20
_cleaner: Cleaner | None = None


def clean_all(batches: Iterable[Batch], spec: Mapping[str, Any], workers: int, total_bytes: int) -> Iterator[Cleaned]:
    """The cleaned batches in the order of ``batches``, by up to ``workers`` processes; two batches on the way for each.

    Raises DataError when a worker is killed, which mostly means that memory ran out.
    """
    processes = min(workers, 1 + total_bytes // _BYTES_A_PROCESS)
    if processes == 1:
        cleaner = _make(spec)
        yield from map(cleaner.clean, batches)
        return
    # Spawned, not forked: threads of the Arrow and NumPy libraries do not survive a fork.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start, initargs=(dict(spec),))
    try:
        pending: deque[Future[Cleaned]] = deque()
        for batch in batches:
            pending.append(pool.submit(_clean, batch))
            if len(pending) >= 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            f"{spec['language']}: a cleaning process was killed, most likely for memory; "
            "give the job more memory or fewer threads"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _make(spec: Mapping[str, Any]) -> Cleaner:
    source = spec["source"]
    local = source["kind"] == "local"
    return Cleaner(
        spec["language"], spec["corpus"], source["text"] if local else "text", source["id"] if local else "id"
    )


def _start(spec: Mapping[str, Any]) -> None:
    global _cleaner
    _cleaner = _make(spec)


def _clean(batch: Batch) -> Cleaned:
    assert _cleaner is not None
    return _cleaner.clean(batch)
