"""Places that a user names, in params.yaml and in specs."""

from __future__ import annotations

import os


def expand(path: str) -> str:
    """A path with ~ and ${VARIABLES} filled in; params and specs keep it unfilled, so that a move reruns nothing."""
    return os.path.expanduser(os.path.expandvars(path))
