"""Files by HTTP: resumed where the server can, restarted where it cannot, and kept only with the hash asked for."""

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
from palimpsest.raw.http_client import Backoff, RefusedError, Session, TransientError, body, content_range, get

logger = logging.getLogger(__name__)
_NAME_BYTES = 200
_CHUNK = 1 << 22
# What an attempt must add to what was there before to count as progress.
_PROGRESS_BYTES = 1 << 16


def download_files(urls: Iterable[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Bring the files of ``urls`` (url, sha256, name or None) into ``folder``, which holds nothing else afterwards.

    Returns url, sha256, name and bytes of each. A file that is there with its hash is not fetched again; a download
    that was cut or killed goes on where it ended. Raises DataError, naming the URL.
    """
    wanted = file_names(urls)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {f"{start}{name}{end}" for name in wanted for start, end in (("", ""), (".", ".part"), (".", ".part.json"))}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    with Session() as session:
        for name, given in wanted.items():
            if not (folder / name).is_file() or _sha256(folder / name).hexdigest() != given["sha256"]:
                _Download(session=session, url=given["url"], sha256=given["sha256"], path=folder / name).run()
    return [
        {"url": given["url"], "sha256": given["sha256"], "name": name, "bytes": (folder / name).stat().st_size}
        for name, given in wanted.items()
    ]


def file_names(urls: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The downloads by the name that each is kept under: its own, else the last part of its URL."""
    wanted: dict[str, dict[str, Any]] = {}
    for given in urls:
        name = given["name"] or unquote(urlsplit(given["url"]).path.rpartition("/")[2])
        if not name or name.startswith(".") or not name.isprintable() or set(name) & set("/\\"):
            raise DataError(f"{given['url']}: its last part {name!r} is no name for a file; give it one (name)")
        if len(name.encode()) > _NAME_BYTES:
            raise DataError(f"{given['url']}: its last part has over {_NAME_BYTES} bytes; give it a name (name)")
        if name in wanted:
            raise DataError(f"{given['url']}: {wanted[name]['url']} is called {name!r} too; give one another name")
        wanted[name] = given
    return wanted


@dataclass(kw_only=True)
class _Download:
    """One file on its way. Beside it lie ``.{name}.part`` and what the server said by which to tell a changed file."""

    session: Session
    url: str
    sha256: str
    path: Path
    digest: Any = field(default_factory=hashlib.sha256)
    position: int = 0
    validator: str | None = None
    # Whether the bytes stem from several answers without anything to tell that they are of one file.
    mixed: bool = False

    @property
    def part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def note(self) -> Path:
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
                    self._judge(file)
            os.fsync(file.fileno())
        self.part.replace(self.path)
        self.note.unlink(missing_ok=True)
        sync(self.path.parent)

    def _resume(self) -> None:
        self.digest = _sha256(self.part)
        self.position = self.part.stat().st_size
        try:
            note = read_json(self.note)
        except ArtifactError:
            note = {}
        self.validator = note.get("validator") if note.get("url") == self.url else None
        if self.position:
            logger.info("%s: goes on at byte %s", self.path.name, f"{self.position:,}")

    def _receive(self, file: IO[bytes]) -> None:
        """One answer, to its end."""
        try:
            response = get(self.session, self.url, self._headers())
        except RefusedError as refusal:
            if refusal.status != 416:
                raise
            # There is nothing after what is here, and that was not the file: from the beginning.
            self.mixed = True
            return
        if response.status_code != 206 or content_range(response)[0] != self.position:
            if response.status_code == 206:
                response.close()
                self._restart(file)
                raise TransientError(
                    f"asked for bytes from {self.position}, got {response.headers.get('Content-Range')!r}"
                )
            self._restart(file)
        elif self.validator is None or _validator(response) != self.validator:
            self.mixed = self.mixed or self.position > 0
        self._remember(response)
        file.seek(self.position)
        length = response.headers.get("Content-Length", "")
        size = self.position + int(length) if length.isdecimal() else None
        with Progress(self.path.name, total=size, unit="bytes", start=self.position) as progress:
            for piece in body(response):
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
        write_json(self.note, {"url": self.url, "validator": self.validator})

    def _judge(self, file: IO[bytes]) -> None:
        """A whole answer came: if the hash is wrong, that is final unless the bytes may be of two versions."""
        found = self.digest.hexdigest()
        if found == self.sha256:
            return
        if self.mixed:
            logger.warning("%s: what was resumed is not the file asked for; fetched anew", self.path.name)
            self._restart(file)
            return
        self.part.unlink()
        self.note.unlink(missing_ok=True)
        raise DataError(
            f"{self.url}: has SHA-256 {found} ({self.position:,} bytes), expected {self.sha256}; "
            "either the file was changed or replaced, or the hash in params is not its"
        )


def _validator(response: requests.Response) -> str | None:
    """What the server says by which to tell a changed file; a weak tag may be the same for different bytes."""
    tag: str = response.headers.get("ETag", "")
    modified: str | None = response.headers.get("Last-Modified")
    return tag if tag.startswith('"') else modified


def _sha256(path: Path) -> Any:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest
