"""Bad steps: a loss or gradient that is not finite, or a gradient far above those before it."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable

_REMEMBERED, _FEWEST = 100, 10


class Guard:
    """Judges steps by the norms of the last 100 good ones of the stage; below ten it sees only what is not finite.

    ``norms``: those of the good steps so far, in order, so that a resumed training judges as one that ran through.
    """

    def __init__(self, spike_factor: float | None, norms: Iterable[float]) -> None:
        self._factor, self._norms = spike_factor, deque(norms, maxlen=_REMEMBERED)

    def problem(self, loss: float, norm: float) -> str | None:
        """What is wrong with a step, else None; the norm of a good one is remembered."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"the loss is {loss} and the gradient norm {norm}"
        if self._factor and len(self._norms) >= _FEWEST:
            median = statistics.median(self._norms)
            if norm > self._factor * median:
                return f"the gradient norm {norm:.4g} is {norm / median:.3g} times the median {median:.4g} of late"
        self._norms.append(norm)
        return None
