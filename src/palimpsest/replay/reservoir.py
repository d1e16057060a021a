"""A reservoir of bounded size, computed: which of all sequences offered so far it would hold.

Every sequence has a keyed priority, and the reservoir holds those of the lowest. Offered one by one, a sequence enters
when its priority is below the highest that is held, which then leaves; so what a stage finds is what the stage before
had, less what left, and what left never comes back. Since priorities do not depend on the sequences, each of n is held
with probability capacity / n, and every set of that size is equally likely: the law of algorithm R (Vitter 1985).
"""

from __future__ import annotations

import numpy as np

from palimpsest.replay.permutation import keyed_hash

_CHUNK = 1 << 20


def members(offered: int, capacity: int, key: int) -> np.ndarray:
    """Which of the sequences number 0 … ``offered`` - 1 are held: ascending, int64 [min(offered, capacity)].

    Takes about 20 ns for each offered one, and memory for ``capacity`` and a chunk.
    """
    held = np.empty(0, dtype=np.int64)
    lowest = np.empty(0, dtype=np.uint64)
    for start in range(0, offered, _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, offered), dtype=np.int64)
        priorities = keyed_hash(numbers, key)
        if len(lowest) == capacity:
            enters = priorities < lowest.max()
            numbers, priorities = numbers[enters], priorities[enters]
        held, lowest = np.concatenate([held, numbers]), np.concatenate([lowest, priorities])
        if len(lowest) > capacity:
            kept = np.argpartition(lowest, capacity - 1)[:capacity]
            held, lowest = held[kept], lowest[kept]
    return np.sort(held)
