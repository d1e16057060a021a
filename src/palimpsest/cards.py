"""Which card a process uses, where several trainings and evaluations run on one machine at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

# Open as long as this process lives: with it goes its claim, however it ends.
_claims: list[IO[bytes]] = []


def claim(cards: int) -> int | None:
    """The number of a card, of those that this process sees, which no other process of this user has claimed, or None.

    Snakemake counts cards (``--resources gpu=8``), but does not say which; so each process takes the first free one.
    """
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    for card in range(cards):
        name = visible[card] if card < len(visible) else str(card)
        file = Path(tempfile.gettempdir(), f"palimpsest-{os.getuid()}-card-{name.replace('/', '-')}").open("ab")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _claims.append(file)
        return card
    return None
