"""Processes that kill themselves at the n-th change of a file, so that a test meets every point of a build."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CHANGES = ("open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir")


def kill_at_change(folder: str, limit: int) -> Callable[[], int]:
    """Kill this process at change number ``limit`` in a folder (0: never); returns what counts the changes so far."""
    changes = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event not in _CHANGES or folder not in str(arguments[0]):
            return
        if event == "open" and "r" in (arguments[1] or "r"):
            return
        changes += 1
        if changes == limit:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    return lambda: changes


def run_program(program: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code that can import this package; it finds its arguments in ``json.loads(sys.argv[1])``."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", program, json.dumps(arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
