"""One run at a time per folder: a job that its scheduler thought dead may still be running when it is started again."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from palimpsest.errors import TrainingError

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create ``folder`` and lock it until the block or the process ends, in whatever way.

    Raises TrainingError where another process holds the lock. A file system without locks is reported and used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"{folder}: another process trains here; end it, or wait until it is done") from None
        except OSError as error:
            logger.warning("%s: %s: nothing keeps a second run out of this folder", path, error.strerror)
        # The previous holder may have removed the file after we opened it and before we locked it.
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            raise TrainingError(f"{folder}: another process has just finished training here; run again")
        yield
        path.unlink()
