"""What readers hand to the cleaning workers: batches of undecoded records, each with its position in its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# One record: a line of JSON, a text file, a cell of Parquet, a WET record. Cleaning takes about 100 times as much.
MAX_RECORD_BYTES = 16 << 20
# Of a rejected record, how much is retained for dropped.jsonl.zst.
EXCERPT_BYTES = 4000


class TextRecord(NamedTuple):
    """A text as undecoded bytes, and its id as the file has it: of any type, None where there is none."""

    id: object
    text: bytes | None

    @property
    def size(self) -> int:
        return len(self.text or b"")


class HttpResponse(NamedTuple):
    """An HTTP response as a WARC file holds it: status line, header fields and body."""

    id: str
    message: bytes

    @property
    def size(self) -> int:
        return len(self.message)


class OversizedRecord(NamedTuple):
    """A record of ``size`` bytes that the reader skipped without holding it; ``reason`` is what it is counted under."""

    reason: str
    excerpt: bytes
    size: int


Record = TextRecord | HttpResponse | OversizedRecord


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Consecutive records of the file ``name``: ``data`` is complete lines of JSON, or a list of other records.

    ``first`` numbers the first line, row or record from 1; ``end`` is how many bytes of the file were read so far.
    """

    name: str
    first: int
    end: int
    data: bytes | list[Record]

    @property
    def size(self) -> int:
        """The bytes of its records, decompressed."""
        return len(self.data) if isinstance(self.data, bytes) else sum(record.size for record in self.data)

    def truncate(self, max_bytes: int) -> Batch:
        """The first complete records that have at most ``max_bytes`` together."""
        if self.size <= max_bytes:
            return self
        data: bytes | list[Record]
        if isinstance(self.data, bytes):
            data = self.data[: self.data.rfind(b"\n", 0, max_bytes) + 1]
        else:
            data, size = [], 0
            for record in self.data:
                if (size := size + record.size) > max_bytes:
                    break
                data.append(record)
        return Batch(name=self.name, first=self.first, end=self.end, data=data)
