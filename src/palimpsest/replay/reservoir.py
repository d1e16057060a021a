"""A reservoir of bounded size, computed from a key: which of all sequences offered so far it retains.

Every sequence has a keyed priority, and the reservoir retains those with the lowest. Offered one by one, a sequence
enters if its priority is below the highest in the reservoir, which then leaves. So each stage finds the reservoir of
the stage before, less what has been replaced since, and what was replaced never returns. Priorities do not depend on
the contents of sequences: each of n is retained with probability capacity / n, and all sets of that size are equally
likely, as in algorithm R (Vitter 1985).
"""

from __future__ import annotations

import numpy as np

from palimpsest.replay.permutation import keyed_hash

_CHUNK = 1 << 20


def retained(offered: int, capacity: int, key: int) -> np.ndarray:
    """Which of the sequences 0 … ``offered`` - 1 are retained: ascending, int64 [min(offered, capacity)].

    Takes about 20 ns per offered sequence, and memory for ``capacity`` entries and one chunk.
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
