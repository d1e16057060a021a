"""HTTP downloads: over http and https only, uncompressed, with retries after transient failures."""

from __future__ import annotations

import email.utils
import importlib.metadata
import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions

from palimpsest.errors import DataError

logger = logging.getLogger(__name__)
# Seconds to connect, and between two reads of a response.
TIMEOUT_S = (20.0, 60.0)
# Consecutive failures without progress after which a download gives up, and the waits between them.
ATTEMPTS = 7
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
# The longest Retry-After that is respected.
LONGEST_RETRY_AFTER_S = 600.0
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK = 1 << 18


class TransientError(Exception):
    """A failure that may not happen again: a cut connection, a stall, a busy server."""

    def __init__(self, problem: str, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


class RefusedError(DataError):
    """A failure that another attempt would not change; ``status`` is 0 if there was no response."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Backoff:
    """Exponential backoff: counts the failures of ``what`` and doubles the wait between attempts."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0

    def progress(self) -> None:
        """Reset the count of failures."""
        self._failures = 0

    def wait(self, problem: TransientError) -> None:
        """Sleep before the next attempt. Raises DataError after the last one."""
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise DataError(
                f"{self._what}: {problem}; gave up after {ATTEMPTS} attempts without progress. Check the network and "
                "the address, and run again: what has arrived is kept"
            )
        own = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (self._failures - 1))
        seconds = max(own, min(LONGEST_RETRY_AFTER_S, problem.wait_s))
        logger.warning("%s: %s; attempt %d follows in %.0f s", self._what, problem, self._failures + 1, seconds)
        time.sleep(seconds)


class Session(requests.Session):
    """A session that identifies the program, requests uncompressed bytes, and follows redirects to http(s) only."""

    def __init__(self) -> None:
        super().__init__()
        version = importlib.metadata.version("palimpsest")
        self.headers.update({"User-Agent": f"palimpsest/{version}", "Accept-Encoding": "identity"})

    def get_redirect_target(self, response: requests.Response) -> str | None:
        target = super().get_redirect_target(response)
        if target is None:
            return None
        scheme, old = urlsplit(urljoin(response.url, target)).scheme, urlsplit(response.url).scheme
        if scheme not in ("http", "https") or (scheme, old) == ("http", "https"):
            raise RefusedError(f"{response.url}: redirects from {old} to {scheme}, which is not followed", 0)
        return str(target)


def get(session: Session, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
    """The head of a response; ``read_body`` reads the rest.

    Raises TransientError or RefusedError, also for a status of 400 or more.
    """
    try:
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise TransientError(_innermost(error)) from None
    except requests.RequestException as error:
        raise RefusedError(f"{url}: {error}", 0) from None
    if response.status_code < 400:
        return response
    response.close()
    status = f"status {response.status_code} {response.reason}".rstrip()
    if response.status_code in TRANSIENT_STATUSES:
        raise TransientError(status, retry_after(response.headers.get("Retry-After")))
    raise RefusedError(f"{url}: {status}; check the URL and your access rights", response.status_code)


def read_body(response: requests.Response) -> Iterator[bytes]:
    """The body in pieces, as sent. Raises TransientError if it stalls or ends before its Content-Length."""
    try:
        with response:
            # read1 returns what has arrived: a longer read that stalls would lose it.
            while piece := response.raw.read1(_CHUNK, decode_content=False):
                yield piece
    except urllib3.exceptions.HTTPError as error:
        raise TransientError(_innermost(error)) from None


def parse_content_range(value: str) -> tuple[int | None, int | None]:
    """The first byte of a partial response and the size of the whole file; None for what Content-Range leaves out."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", value)
    start, size = found.groups() if found else (None, None)
    return (None if start is None else int(start)), (None if size is None else int(size))


def retry_after(value: str | None) -> float:
    """The seconds to wait that a Retry-After header (a number or a date) asks for; 0 without one."""
    if value is None:
        return 0.0
    if value.isdigit():
        return float(value)
    date = email.utils.parsedate_tz(value)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else 0.0


def _innermost(error: Exception) -> str:
    """The innermost reason, without the names of pools and adapters around it."""
    reasons: list[Any] = [error]
    while reasons:
        error, reasons = reasons[0], [getattr(reasons[0], "reason", None), *reasons[0].args]
        reasons = [reason for reason in reasons if isinstance(reason, Exception)]
    name = type(error).__name__
    return str(error) if name in str(error) else f"{name}: {error}"
