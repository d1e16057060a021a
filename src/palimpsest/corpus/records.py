"""What readers hand to the workers: batches of undecoded records, each with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

# One record: a line of JSON, a text file, a cell of Parquet, a WET record. Cleaning takes about 100 times as much.
MAX_RECORD_BYTES = 16 << 20
SHOWN_BYTES = 4000


class Row(NamedTuple):
    """A text, as bytes that nobody decoded, and its id where it has one."""

    id: Any
    text: bytes | None

    @property
    def size(self) -> int:
        return len(self.text or b"")


class Page(NamedTuple):
    """An HTTP response as a WARC file holds it: status line, header fields and body."""

    id: str
    message: bytes

    @property
    def size(self) -> int:
        return len(self.message)


class Refused(NamedTuple):
    """A record of ``size`` bytes that the reader itself turned down, without holding it."""

    reason: str
    shown: bytes
    size: int


Record = Row | Page | Refused


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Consecutive records of one file: ``data`` is whole lines of JSON, or a list of other records.

    ``name`` is the file's, ``first`` the number (from 1) of the first line, row or record, ``end`` how many bytes of
    the file were read so far.
    """

    name: str
    first: int
    end: int
    data: bytes | list[Record]

    @property
    def size(self) -> int:
        """The bytes of its records, unpacked."""
        return len(self.data) if isinstance(self.data, bytes) else sum(record.size for record in self.data)

    def within(self, most: int) -> Batch:
        """The leading whole records that have at most ``most`` bytes together."""
        if self.size <= most:
            return self
        data: bytes | list[Record]
        if isinstance(self.data, bytes):
            data = self.data[: self.data.rfind(b"\n", 0, most) + 1]
        else:
            data, held = [], 0
            for record in self.data:
                if (held := held + record.size) > most:
                    break
                data.append(record)
        return Batch(name=self.name, first=self.first, end=self.end, data=data)
