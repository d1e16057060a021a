"""A line in the log every few seconds: how far, how fast, how long still."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0


class Progress:
    """Reports on the reading of ``total_bytes`` of input files."""

    def __init__(self, language: str, total_bytes: int) -> None:
        self._language, self._total = language, total_bytes
        self._start = self._last = time.monotonic()
        self._documents = self._kept = 0
        self._before: int | None = None

    def show(self, done_bytes: int, documents: int, kept: int) -> None:
        """Count documents that were read and kept, and log a line if the last one is old enough."""
        self._documents += documents
        self._kept += kept
        if self._before is None:
            # What an earlier run did says nothing of this one's speed.
            self._before = done_bytes
        now = time.monotonic()
        if now - self._last < INTERVAL_SECONDS or not self._documents:
            return
        self._last = now
        elapsed = now - self._start
        read = done_bytes - self._before
        # Bytes are counted by whole pieces of files, so that at first there may be none.
        left = f", about {elapsed * (self._total - done_bytes) / read:.0f} s left" if read else ""
        logger.info(
            "%s: %s documents, %.0f/s, %.0f %% kept%s",
            self._language, f"{self._documents:,}", self._documents / elapsed, 100 * self._kept / self._documents, left,
        )  # fmt: skip
