"""One training at a time in a folder: a job that was given up may still train there when it is started again."""

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
def locked(folder: Path) -> Iterator[None]:
    """Make ``folder`` and hold it; a process that ends in whatever way lets go. Raises TrainingError where it is held.

    A file system that knows no locks is told of, and trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"{folder}: another process trains here; end it, or wait until it is done") from None
        except OSError as error:
            logger.warning("%s: %s: nothing keeps a second training out of this folder", path, error.strerror)
        # The one before may have removed the file between our opening and locking it.
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            raise TrainingError(f"{folder}: another process trained here until now; run again")
        yield
        path.unlink()
