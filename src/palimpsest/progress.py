"""Progress of long work: a bar on a terminal, a line in the log every few seconds anywhere else."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

logger = logging.getLogger(__name__)

LINE_INTERVAL_S = 5.0
BAR_INTERVAL_S = 0.1
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Progress:
    """Shows how much is done, the rate and the time left; use it in a ``with`` block, which closes the bar.

    ``total`` and the positions given to ``update`` count in ``unit`` ("bytes", "steps", "documents", …); ``total`` is
    None where it is unknown. ``start`` is the position at which this process begins, None if it is that of the first
    update: what an earlier run did says nothing about the speed of this one. ``clock`` returns seconds. ``terminal`` is
    whether standard error is one, as found out by default. An update that is not shown costs a microsecond.
    """

    def __init__(
        self, title: str, *, total: float | None, unit: str, start: float | None = 0,
        clock: Callable[[], float] = time.monotonic, terminal: bool | None = None,
    ) -> None:  # fmt: skip
        self.title, self.total, self.unit = title, total, unit
        self._start, self._clock = start, clock
        self._done = start or 0.0
        self._note: str | Callable[[], str] = ""
        self._began = self._shown_at = clock()
        self._is_shown = True
        self._bar: Any = None
        self._stack = ExitStack()
        if logger.isEnabledFor(logging.INFO) and (sys.stderr.isatty() if terminal is None else terminal):
            self._open_bar()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, done: float, note: str | Callable[[], str] = "") -> None:
        """Set the position. ``note`` says more, such as a loss; a function is called only when the text is shown."""
        if self._start is None:
            self._start = done
        self._done, self._note, self._is_shown = done, note, False
        if self._clock() - self._shown_at >= (LINE_INTERVAL_S if self._bar is None else BAR_INTERVAL_S):
            self._show()

    def close(self) -> None:
        """Show the last update, if it was not shown, and finish the bar."""
        if not self._is_shown:
            self._show()
        self._stack.close()

    @property
    def seconds(self) -> float:
        """Seconds since this process began."""
        return self._clock() - self._began

    @property
    def rate(self) -> float:
        """Units per second since this process began; 0 before anything is done."""
        seconds = self.seconds
        return (self._done - (self._start or 0)) / seconds if seconds > 0 else 0.0

    def line(self) -> str:
        """The state as one line of text: position, rate, note, time left."""
        position = self._quantity(self._done)
        if self.total is not None:
            position += f" of {self._quantity(self.total)}"
        parts = [position if self.unit == "bytes" else f"{position} {self.unit}"]
        if rate := self.rate:
            parts.append(f"{self._quantity(rate)}/s" if self.unit == "bytes" else f"{_number(rate)} {self.unit}/s")
        if note := self._note_text():
            parts.append(note)
        if rate > 0 and self.total is not None:
            parts.append(f"{duration(max(0.0, self.total - self._done) / rate)} left")
        return f"{self.title}: {', '.join(parts)}"

    def _note_text(self) -> str:
        return self._note if isinstance(self._note, str) else self._note()

    def _quantity(self, value: float) -> str:
        return byte_size(value) if self.unit == "bytes" else f"{value:,.0f}"

    def _show(self) -> None:
        self._shown_at, self._is_shown = self._clock(), True
        if self._bar is None:
            logger.info("%s", self.line())
            return
        self._bar.initial = self._start
        self._bar.n = self._done
        self._bar.set_postfix_str(self._note_text(), refresh=False)
        self._bar.refresh()

    def _open_bar(self) -> None:
        # Only here, since most work writes to a log.
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        self._bar = self._stack.enter_context(
            tqdm(
                total=self.total,
                initial=self._start or 0,
                desc=self.title,
                unit="B" if self.unit == "bytes" else f" {self.unit}",
                unit_scale=self.unit == "bytes",
                file=sys.stderr,
                dynamic_ncols=True,
                disable=False,  # TQDM_DISABLE is for the bars of libraries
            )
        )
        # Log lines move above the bar in place of breaking it.
        self._stack.enter_context(logging_redirect_tqdm())


def byte_size(size: float) -> str:
    """A number of bytes in decimal units with three digits or so: "12.3 MB"."""
    unit = 0
    while abs(size) >= 1000 and unit < len(_BYTE_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.1f} {_BYTE_UNITS[unit]}" if unit else f"{size:.0f} B"


def duration(seconds: float) -> str:
    """A time span in the unit that fits it: "45 s", "12 min", "3.4 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
