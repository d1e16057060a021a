"""HTTP as this stage needs it: http and https alone, bytes as they were sent, and backoff with what passes."""

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
# Seconds until a connection stands, and between two pieces of an answer.
TIMEOUT_S = (20.0, 60.0)
# Failures in a row without progress that are put up with, and the waits between them.
ATTEMPTS = 7
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
# The longest that a server's Retry-After is heeded.
LONGEST_ASKED_S = 600.0
_CHUNK = 1 << 18
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class TransientError(Exception):
    """A failure that may not happen again: a cut, a stall, a server that is busy."""

    def __init__(self, problem: str, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


class RefusedError(DataError):
    """An answer that another attempt would not change."""

    def __init__(self, message: str, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Backoff:
    """Counts failures of one thing and waits between attempts, twice as long each time."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0

    def progress(self) -> None:
        """Attempts count anew."""
        self._failures = 0

    def wait(self, problem: TransientError) -> None:
        """Sleep before the next attempt, or raise DataError after the last one."""
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise DataError(
                f"{self._what}: {problem}; gave up after {ATTEMPTS} attempts without progress. Check the network and "
                "the address, and run again: what has arrived is kept"
            )
        own = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (self._failures - 1))
        seconds = max(own, min(LONGEST_ASKED_S, problem.wait_s))
        logger.warning("%s: %s; attempt %d follows in %.0f s", self._what, problem, self._failures + 1, seconds)
        time.sleep(seconds)


class Session(requests.Session):
    """A session that says who asks, wants nothing packed, and follows redirects to http and https alone."""

    def __init__(self, token: str | None = None) -> None:
        super().__init__()
        version = importlib.metadata.version("palimpsest")
        self.headers.update({"User-Agent": f"palimpsest/{version}", "Accept-Encoding": "identity"})
        if token:
            # Not as a header of the session, which would go along to other hosts, nor to be replaced from ~/.netrc.
            self.auth = _Bearer(token)

    def get_redirect_target(self, response: requests.Response) -> str | None:
        target = super().get_redirect_target(response)
        if target is None:
            return None
        scheme, old = urlsplit(urljoin(response.url, target)).scheme, urlsplit(response.url).scheme
        if scheme not in ("http", "https") or (scheme, old) == ("http", "https"):
            raise RefusedError(f"{response.url}: redirects from {old} to {scheme}, which is not followed", 0)
        return str(target)


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def get(session: Session, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
    """The answer's head; ``body`` reads the rest. Raises TransientError or RefusedError, for a status over 399 too."""
    try:
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise TransientError(_short(error)) from None
    except requests.RequestException as error:
        raise RefusedError(f"{url}: {error}", 0) from None
    if response.status_code < 400:
        return response
    response.close()
    told = f"status {response.status_code} {response.reason}".rstrip()
    if response.status_code in _TRANSIENT:
        raise TransientError(told, _retry_after(response.headers.get("Retry-After")))
    raise RefusedError(
        f"{url}: {told}; check the address, and that you may read it",
        response.status_code,
        response.headers.get("X-Error-Code", ""),
    )


def body(response: requests.Response) -> Iterator[bytes]:
    """The body in pieces, as it was sent. Raises TransientError where it stalls, or ends before its Content-Length."""
    try:
        with response:
            # Not more than has come, since what a stalled read has gathered is lost.
            while piece := response.raw.read1(_CHUNK, decode_content=False):
                yield piece
    except urllib3.exceptions.HTTPError as error:
        raise TransientError(_short(error)) from None


def content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """Where a partial answer begins (None: it holds nothing) and the size of the whole file, as far as it tells."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", response.headers.get("Content-Range", ""))
    start, size = found.groups() if found else (None, None)
    return (None if start is None else int(start)), (None if size is None else int(size))


def _retry_after(value: str | None) -> float:
    if value is None:
        return 0.0
    if value.isdigit():
        return float(value)
    date = email.utils.parsedate_tz(value)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else 0.0


def _short(error: Exception) -> str:
    """The innermost reason, without the names of pools and adapters around it."""
    reasons: list[Any] = [error]
    while reasons:
        error, reasons = reasons[0], [getattr(reasons[0], "reason", None), *reasons[0].args]
        reasons = [reason for reason in reasons if isinstance(reason, Exception)]
    name = type(error).__name__
    return str(error) if name in str(error) else f"{name}: {error}"
