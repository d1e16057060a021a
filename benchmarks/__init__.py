"""Speed and memory, each compared with a peer or a physical limit in one run: ``python -m benchmarks.NAME``.

A benchmark prints its measurements and, as its last line, one JSON object: ``name``, ``peer`` (what it is compared
with), ``n`` (number of repetitions) and ``ratios`` (name → number). Machines are noisy: quote ratios, never seconds.
"""

import json
import sys


def conclude(name: str, peer: str, n: int, ratios: dict[str, float]) -> None:
    """Print the conclusion."""
    rounded = {key: round(value, 6) for key, value in ratios.items()}
    sys.stdout.write(json.dumps({"name": name, "peer": peer, "n": n, "ratios": rounded}) + "\n")
