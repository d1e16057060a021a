"""Downloads files by HTTP: resumes if the server supports it, restarts if not, accepts only files with their hash."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import requests

from palimpsest.artifact import read_json, sync, write_json
from palimpsest.errors import ArtifactError, DataError
from palimpsest.progress import Progress
from palimpsest.raw.http_client import (
    Backoff,
    RefusedError,
    Session,
    TransientError,
    get,
    parse_content_range,
    read_body,
)  # fmt: skip
from palimpsest.settings.sources import Download

logger = logging.getLogger(__name__)
_NAME_BYTES = 200
# Bytes that an attempt must add to the file to count as progress.
_PROGRESS_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class DownloadedFile:
    """A downloaded file; ``name`` is its name in the folder of downloads."""

    url: str
    sha256: str
    name: str
    bytes: int


def download_files(urls: Iterable[Download], folder: Path) -> list[DownloadedFile]:
    """Download the files of ``urls`` into ``folder``, and remove all other files from it.

    A file that exists with its hash is not downloaded again; an interrupted download resumes. Raises DataError naming
    the URL.
    """
    files = file_names(urls)
    folder.mkdir(parents=True, exist_ok=True)
    affixes = (("", ""), (".", ".part"), (".", ".part.json"))
    retained = {f"{prefix}{name}{suffix}" for name in files for prefix, suffix in affixes}
    for path in folder.iterdir():
        if path.name not in retained:
            path.unlink()
    with Session() as session:
        for name, file in files.items():
            if not (folder / name).is_file() or _sha256(folder / name).hexdigest() != file.sha256:
                _Transfer(session=session, url=file.url, sha256=file.sha256, path=folder / name).run()
    return [
        DownloadedFile(url=file.url, sha256=file.sha256, name=name, bytes=(folder / name).stat().st_size)
        for name, file in files.items()
    ]


def file_names(urls: Iterable[Download]) -> dict[str, Download]:
    """File name → download. The file name is its ``name``, else the last part of the URL."""
    files: dict[str, Download] = {}
    for file in urls:
        name = file.name or unquote(urlsplit(file.url).path.rpartition("/")[2])
        if not name or name.startswith(".") or not name.isprintable() or set(name) & set("/\\"):
            raise DataError(f"{file.url}: its last part {name!r} is not a valid file name; set its name")
        if len(name.encode()) > _NAME_BYTES:
            raise DataError(f"{file.url}: its last part has over {_NAME_BYTES} bytes; set its name")
        if name in files:
            raise DataError(f"{file.url}: {files[name].url} is called {name!r} too; set the name of one of them")
        files[name] = file
    return files


@dataclass(kw_only=True)
class _Transfer:
    """A download in progress, to ``.{name}.part``; ``.{name}.part.json`` has its URL and validator.

    ``validator`` is the ETag or date with which the server tells whether its file changed.
    """

    session: Session
    url: str
    sha256: str
    path: Path
    digest: Any = field(default_factory=hashlib.sha256)
    position: int = 0
    validator: str | None = None
    # Whether the bytes come from several responses that may not be of the same version of the file.
    mixed: bool = False

    @property
    def part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def state_file(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part.json")

    def run(self) -> None:
        backoff, best = Backoff(self.url), 0
        self.part.touch()
        self._resume()
        with self.part.open("r+b") as file:
            while self.digest.hexdigest() != self.sha256:
                try:
                    self._receive(file)
                except TransientError as problem:
                    if self.position >= best + _PROGRESS_BYTES:
                        backoff.progress()
                    best = max(best, self.position)
                    if self.digest.hexdigest() != self.sha256:
                        backoff.wait(problem)
                else:
                    self._check_hash(file)
            os.fsync(file.fileno())
        self.part.replace(self.path)
        self.state_file.unlink(missing_ok=True)
        sync(self.path.parent)

    def _resume(self) -> None:
        self.digest = _sha256(self.part)
        self.position = self.part.stat().st_size
        try:
            state = read_json(self.state_file)
        except ArtifactError:
            state = {}
        self.validator = state.get("validator") if state.get("url") == self.url else None
        if self.position:
            logger.info("%s: resuming at byte %s", self.path.name, f"{self.position:,}")

    def _receive(self, file: IO[bytes]) -> None:
        """Read one response to its end."""
        try:
            response = get(self.session, self.url, self._headers())
        except RefusedError as refusal:
            if refusal.status != 416:
                raise
            # The server has no more bytes, and the hash of these is wrong: start from scratch.
            self.mixed = True
            return
        content_range = response.headers.get("Content-Range", "")
        if response.status_code != 206:
            self._restart(file)
        elif parse_content_range(content_range)[0] != self.position:
            response.close()
            problem = TransientError(f"requested bytes from {self.position}, got {content_range!r}")
            self._restart(file)
            raise problem
        elif self.validator is None or _validator(response) != self.validator:
            self.mixed = self.mixed or self.position > 0
        self._remember(response)
        file.seek(self.position)
        length = response.headers.get("Content-Length", "")
        size = self.position + int(length) if length.isdecimal() else None
        with Progress(self.path.name, total=size, unit="bytes", start=self.position) as progress:
            for piece in read_body(response):
                file.write(piece)
                self.digest.update(piece)
                self.position += len(piece)
                progress.update(self.position)

    def _headers(self) -> dict[str, str]:
        if not self.position:
            return {}
        condition = {"If-Range": self.validator} if self.validator else {}
        return {"Range": f"bytes={self.position}-"} | condition

    def _restart(self, file: IO[bytes]) -> None:
        file.truncate(0)
        self.digest, self.position, self.mixed, self.validator = hashlib.sha256(), 0, False, None

    def _remember(self, response: requests.Response) -> None:
        self.validator = _validator(response)
        write_json(self.state_file, {"url": self.url, "validator": self.validator})

    def _check_hash(self, file: IO[bytes]) -> None:
        """Check the hash after a complete response: a wrong one is final unless the bytes may be of two versions."""
        found = self.digest.hexdigest()
        if found == self.sha256:
            return
        if self.mixed:
            logger.warning("%s: the resumed download has the wrong hash; downloading it from scratch", self.path.name)
            self._restart(file)
            return
        self.part.unlink()
        self.state_file.unlink(missing_ok=True)
        raise DataError(
            f"{self.url}: has SHA-256 {found} ({self.position:,} bytes), expected {self.sha256}; "
            "either the file was changed or replaced, or the hash in the params is not that of this file"
        )


def _validator(response: requests.Response) -> str | None:
    """The ETag or date that changes with the file. Weak tags are ignored: different bytes may share one."""
    tag: str = response.headers.get("ETag", "")
    modified: str | None = response.headers.get("Last-Modified")
    return tag if tag.startswith('"') else modified


def _sha256(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
