"""Signals that ask a run to stop: they are recorded, so that it can write a checkpoint first."""

from __future__ import annotations

import logging
import signal
from types import FrameType

logger = logging.getLogger(__name__)


class StopSignals:
    """Notes a SIGINT (Ctrl-C), SIGTERM or SIGUSR1."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        logger.info("%s: stopping after this step", signal.Signals(number).name)
        self.received = True
