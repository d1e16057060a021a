"""A reservoir of bounded size, computed: which of all sequences offered so far it retains.

Every sequence has a keyed priority, and the reservoir retains those with the lowest. Offered one by one, a sequence
enters when its priority is below the highest in the reservoir, which then leaves. So a stage finds what the stage
before had, less what has left since, and what left never comes back. Priorities do not depend on the sequences: each
of n is retained with probability capacity / n, and every set of that size is equally likely, as in algorithm R
(Vitter 1985).
"""

from __future__ import annotations

import numpy as np

from palimpsest.replay.permutation import keyed_hash

_CHUNK = 1 << 20


def retained(offered: int, capacity: int, key: int) -> np.ndarray:
    """Which of the sequences number 0 … ``offered`` - 1 are retained: ascending, int64 [min(offered, capacity)].

    Takes about 20 ns for each one offered, and memory for ``capacity`` and a chunk.
    """
    members = np.empty(0, dtype=np.int64)
    lowest = np.empty(0, dtype=np.uint64)
    for start in range(0, offered, _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, offered), dtype=np.int64)
        priorities = keyed_hash(numbers, key)
        if len(lowest) == capacity:
            enters = priorities < lowest.max()
            numbers, priorities = numbers[enters], priorities[enters]
        members, lowest = np.concatenate([members, numbers]), np.concatenate([lowest, priorities])
        if len(lowest) > capacity:
            stays = np.argpartition(lowest, capacity - 1)[:capacity]
            members, lowest = members[stays], lowest[stays]
    return np.sort(members)
