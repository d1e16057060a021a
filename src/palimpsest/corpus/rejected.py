"""The normal end of many records."""

from __future__ import annotations


class Rejected(Exception):  # noqa: N818 - not an error
    """Why a record is dropped, and what there is to show of it."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.reason, self.text = reason, text
