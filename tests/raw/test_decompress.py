"""Decompression is strict, in bounded pieces, and yields everything before a corruption."""

import gzip
import io
import random
import tracemalloc
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import DataError
from palimpsest.raw.decompress import PIECE_BYTES, decompressed

PACK: dict[str, Callable[[bytes], bytes]] = {"a.gz": gzip.compress, "a.zst": zstandard.compress, "a": bytes}
TEXT = b"".join(b"%d " % random.Random(4).randrange(10**9) for _ in range(4000)) + random.Random(4).randbytes(30_000)


def read(data: bytes, name: str) -> bytes:
    return b"".join(piece for _, piece in decompressed(io.BytesIO(data), name))


def readable(data: bytes, name: str) -> tuple[bytes, str]:
    """What comes before the error, and its message."""
    found = bytearray()
    try:
        for _, piece in decompressed(io.BytesIO(data), name):
            found += piece
    except DataError as error:
        return bytes(found), str(error)
    return bytes(found), ""


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.sampled_from([*PACK, "a.jsonl.zstd"]))
def test_any_number_of_frames(pieces: list[bytes], name: str) -> None:
    pack = PACK.get(name, zstandard.compress)
    assert read(b"".join(map(pack, pieces)), name) == b"".join(pieces)


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_every_truncation_is_noticed(name: str) -> None:
    first = PACK[name](TEXT[:5000])
    whole = first + PACK[name](TEXT[5000:9000])
    for end in range(len(whole)):
        if end == len(first):
            assert read(whole[:end], name) == TEXT[:5000]
            continue
        found, message = readable(whole[:end], name)
        assert message.startswith(f"{name}: cut short at byte {end}"), end
        assert TEXT.startswith(found) and (end < len(first) or len(found) >= 5000)


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_content_before_a_corruption_is_yielded(name: str) -> None:
    whole = PACK[name](TEXT[:20_000]) + PACK[name](TEXT[20_000:])
    found, message = readable(whole + b"no frame", name)
    assert found == TEXT and f"{name}: corrupt near byte " in message
    near = int(message.partition("near byte ")[2].split()[0])
    assert 0 <= len(whole) - near < 1024


def test_a_wrong_checksum_is_an_error() -> None:
    for name, pack in {"a.gz": gzip.compress, "a.zst": zstandard.ZstdCompressor(write_checksum=True).compress}.items():
        flipped = bytearray(pack(TEXT))
        flipped[-3] ^= 1
        assert "corrupt near byte" in readable(bytes(flipped), name)[1]


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_decompression_bomb_needs_little_memory(name: str) -> None:
    zeros, times = b"\0" * (1 << 20), 32
    if name == "a.zst":
        packer = zstandard.ZstdCompressor(level=1).compressobj()
        bomb = b"".join([packer.compress(zeros) for _ in range(times)]) + packer.flush()
    else:
        bomb = gzip.compress(zeros * times)
    assert len(bomb) < len(zeros) * times // 900
    tracemalloc.start()
    sizes = [len(piece) for _, piece in decompressed(io.BytesIO(bomb), name)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == len(zeros) * times
    assert max(sizes) <= 5 * PIECE_BYTES and peak < 24 << 20


def test_a_huge_zstd_window_is_refused() -> None:
    greedy = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=greedy).compressobj()
    assert "too much memory" in readable(packer.compress(TEXT) + packer.flush(), "a.zst")[1]


def test_positions_are_those_of_the_compressed_file() -> None:
    packed = zstandard.compress(random.Random(0).randbytes(3_000_000))
    ends = [end for end, _ in decompressed(io.BytesIO(packed), "a.zst")]
    assert ends == sorted(ends) and ends[-1] == len(packed) and len(ends) > 2


def test_read_errors_are_not_reported_as_corruption() -> None:
    class Failing(io.BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        list(decompressed(Failing(), "a.zst"))
