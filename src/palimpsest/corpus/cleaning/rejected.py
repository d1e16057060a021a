"""The exception that drops a record; expected for many records."""

from __future__ import annotations


class Rejected(Exception):  # noqa: N818 - not an error
    """The reason that a dropped record is counted under, and an excerpt of it."""

    def __init__(self, reason: str, excerpt: str = "") -> None:
        super().__init__(reason)
        self.reason, self.excerpt = reason, excerpt
