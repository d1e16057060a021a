"""A reader of token shards that shares no code with the one under test."""

import struct
from pathlib import Path

import numpy as np


def read_shard(prefix: Path) -> list[list[int]]:
    """The documents of a shard, read from the description of the format alone."""
    index, tokens = Path(f"{prefix}.idx").read_bytes(), Path(f"{prefix}.bin").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, count, bounds = struct.unpack("<QBQQ", index[9:34])
    dtype = {4: "<i4", 8: "<u2"}[code]
    lengths = np.frombuffer(index, "<i4", count, 34)
    pointers = np.frombuffer(index, "<i8", count, 34 + 4 * count)
    ends = np.frombuffer(index, "<i8", bounds, 34 + 12 * count)
    assert version == 1 and len(index) == 34 + 12 * count + 8 * bounds
    assert ends.tolist() == list(range(count + 1))
    return [
        np.frombuffer(tokens, dtype, n, start).tolist() for n, start in zip(lengths, pointers.tolist(), strict=True)
    ]
