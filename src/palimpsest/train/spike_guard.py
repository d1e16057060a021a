"""Bad steps: a loss or gradient that is not finite, or far above those before it."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from typing import Any

_REMEMBERED, _FEWEST, _PATIENCE = 100, 10, 20


class Guard:
    """Judges steps by the last 100 good ones of the stage; below ten it sees only what is not finite.

    A loss more than ``spike_nats`` above their median is bad, and so is a gradient norm above ``spike_factor`` times
    theirs; None leaves it alone. ``lines``: those of metrics.jsonl so far, so that a resumed training judges as one
    that ran through.
    """

    def __init__(self, spike_nats: float | None, spike_factor: float | None, lines: Iterable[dict[str, Any]]) -> None:
        self._nats, self._factor, self._bad_in_a_row = spike_nats, spike_factor, 0
        self._losses: deque[float] = deque(maxlen=_REMEMBERED)
        self._norms: deque[float] = deque(maxlen=_REMEMBERED)
        for line in lines:
            if line.get("skipped"):
                self._bad_in_a_row += 1
            elif "gradient_norm" in line:
                self._remember(line["loss"], line["gradient_norm"])

    @property
    def is_lost(self) -> bool:
        """Whether so many steps in a row were bad that what is wrong is not a batch."""
        return self._bad_in_a_row > _PATIENCE

    def problem(self, loss: float, norm: float) -> str | None:
        """What is wrong with a step, else None; a good one is remembered."""
        found = self._judge(loss, norm)
        if found:
            self._bad_in_a_row += 1
        else:
            self._remember(loss, norm)
        return found

    def _judge(self, loss: float, norm: float) -> str | None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"the loss is {loss} and the gradient norm {norm}"
        if len(self._norms) < _FEWEST:
            return None
        if self._nats is not None:
            median = statistics.median(self._losses)
            if loss > median + self._nats:
                return f"the loss {loss:.4g} is {loss - median:.3g} nats above the median {median:.4g} of late"
        if self._factor is not None:
            median = statistics.median(self._norms)
            if norm > self._factor * median:
                return f"the gradient norm {norm:.4g} is {norm / median:.3g} times the median {median:.4g} of late"
        return None

    def _remember(self, loss: float, norm: float) -> None:
        self._losses.append(loss)
        self._norms.append(norm)
        self._bad_in_a_row = 0
