"""A polite end: signals are noted, so that the loop can keep a checkpoint before it stops."""

from __future__ import annotations

import logging
import signal
from types import FrameType

logger = logging.getLogger(__name__)


class StopRequest:
    """Notes a SIGINT (Ctrl-C), SIGTERM or SIGUSR1."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        logger.info("%s: stopping after this step", signal.Signals(number).name)
        self.requested = True
