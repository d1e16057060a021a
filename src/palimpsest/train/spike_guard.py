"""Bad steps: a loss or gradient that is not finite, or far above those before it."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable

from palimpsest.train.metrics import MetricsRecord, StepRecord

# Good steps that a step is compared with; with fewer than the minimum, only what is not finite is bad.
_WINDOW, _MIN_STEPS = 100, 10
_MAX_BAD_IN_A_ROW = 20


class SpikeGuard:
    """Judges steps by the last 100 good ones of the stage; the first ten only by whether they are finite.

    A loss more than ``spike_nats`` above their median is bad, and so is a gradient norm above ``spike_factor`` times
    their median; None turns that check off. ``records``: those of metrics.jsonl so far, so that a resumed run judges
    like one that was not interrupted.
    """

    def __init__(
        self, spike_nats: float | None, spike_factor: float | None, records: Iterable[MetricsRecord] = ()
    ) -> None:
        self._nats, self._factor, self._bad_in_a_row = spike_nats, spike_factor, 0
        self._losses: deque[float] = deque(maxlen=_WINDOW)
        self._norms: deque[float] = deque(maxlen=_WINDOW)
        for record in records:
            if not isinstance(record, StepRecord):
                continue
            if record.skipped:
                self._bad_in_a_row += 1
            elif record.loss is not None and record.gradient_norm is not None:
                self._remember(record.loss, record.gradient_norm)

    @property
    def has_diverged(self) -> bool:
        """Whether so many steps in a row were bad that a single batch cannot be the cause."""
        return self._bad_in_a_row > _MAX_BAD_IN_A_ROW

    def check(self, loss: float, norm: float) -> str | None:
        """Count a step. Returns what is wrong with it, None if it is good."""
        problem = self._judge(loss, norm)
        if problem:
            self._bad_in_a_row += 1
        else:
            self._remember(loss, norm)
        return problem

    def _judge(self, loss: float, norm: float) -> str | None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"the loss is {loss} and the gradient norm {norm}"
        if len(self._norms) < _MIN_STEPS:
            return None
        if self._nats is not None:
            median = statistics.median(self._losses)
            if loss > median + self._nats:
                return f"the loss {loss:.4g} is {loss - median:.3g} nats above the recent median {median:.4g}"
        if self._factor is not None:
            median = statistics.median(self._norms)
            if norm > self._factor * median:
                return f"the gradient norm {norm:.4g} is {norm / median:.3g} times the recent median {median:.4g}"
        return None

    def _remember(self, loss: float, norm: float) -> None:
        self._losses.append(loss)
        self._norms.append(norm)
        self._bad_in_a_row = 0
