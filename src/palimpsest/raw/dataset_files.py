"""The files of a dataset on the Hugging Face hub at a pinned revision, or of a local folder like it.

Of the hub's HTTP interface two things are needed, the listing of a folder and a range of a file, so that it is spoken
here, with the same backoff as every other download. HF_ENDPOINT and HF_TOKEN come from the environment.
"""

from __future__ import annotations

import functools
import glob
import io
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, cast
from urllib.parse import quote

import orjson
import yaml
from fsspec.utils import glob_translate

from palimpsest.errors import DataError
from palimpsest.raw.http_client import Backoff, RefusedError, Session, TransientError, body, content_range, get
from palimpsest.raw.inventory import fixed_folder

_T = TypeVar("_T")
BLOCK_BYTES = 8 << 20
_BLOCKS = 4
_CARD_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of a dataset: its name inside it, and its size in bytes."""

    name: str
    bytes: int


class Dataset(Protocol):
    """``title`` is what messages call it."""

    title: str

    def files(self, pattern: str) -> list[File]: ...
    def open(self, file: File) -> AbstractContextManager[BinaryIO]: ...
    def licence(self) -> str | None: ...


def dataset(source: dict[str, Any]) -> Dataset:
    """The dataset of a source of kind hf."""
    if Path(source["dataset"]).is_dir():
        return _Folder(Path(source["dataset"]))
    return _Remote(source["dataset"], source["revision"])


class _Folder:
    def __init__(self, root: Path) -> None:
        self.title = str(root)
        self._root = root

    def files(self, pattern: str) -> list[File]:
        # As the inventory of local files does, by which a changed one is seen.
        names = sorted(set(glob.glob(pattern, root_dir=self._root, recursive=True)))
        paths = {Path(name).as_posix(): self._root / name for name in names}
        return [File(name=name, bytes=path.stat().st_size) for name, path in paths.items() if path.is_file()]

    @contextmanager
    def open(self, file: File) -> Iterator[BinaryIO]:
        with (self._root / file.name).open("rb") as opened:
            yield opened

    def licence(self) -> str | None:
        card = self._root / "README.md"
        return _licence(card.read_bytes()[:_CARD_BYTES]) if card.is_file() else None


class _Remote:
    def __init__(self, name: str, revision: str) -> None:
        self.title = f"{name}@{revision[:12]}"
        self._endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self._name = name
        self._revision = revision
        self._session = Session(os.environ.get("HF_TOKEN"))

    def files(self, pattern: str) -> list[File]:
        """Only the fixed part of the glob is listed, since a dataset can have very many files."""
        folder = fixed_folder(pattern).as_posix()
        below = "" if folder == "." else f"/{quote(folder)}"
        url: str | None = f"{self._endpoint}/api/datasets/{self._name}/tree/{self._revision}{below}?recursive=true"
        sizes: dict[str, int] = {}
        while url:
            entries, url = self._retry("the list of files", functools.partial(self._page, url))
            sizes |= {entry["path"]: entry["size"] for entry in entries if entry["type"] == "file"}
        return [File(name=name, bytes=sizes[name]) for name in _matching(sizes, pattern)]

    @contextmanager
    def open(self, file: File) -> Iterator[BinaryIO]:
        def fetch(start: int, end: int) -> bytes:
            return self._retry(file.name, lambda: self._range(file, start, end))

        yield cast(BinaryIO, io.BufferedReader(_Ranged(fetch, file.bytes), 1 << 16))

    def licence(self) -> str | None:
        try:
            return _licence(self._retry("README.md", lambda: self._head("README.md", _CARD_BYTES)))
        except RefusedError as refusal:
            if refusal.code == "EntryNotFound":
                return None
            raise

    def _page(self, url: str) -> tuple[list[dict[str, Any]], str | None]:
        response = self._get(url)
        data = b"".join(body(response))
        try:
            return orjson.loads(data), response.links.get("next", {}).get("url")
        except orjson.JSONDecodeError as error:
            raise TransientError(f"not JSON ({error})") from None

    def _head(self, name: str, most: int) -> bytes:
        data = bytearray()
        for piece in body(self._get(self._address(name))):
            data += piece
            if len(data) >= most:
                break
        return bytes(data)

    def _range(self, file: File, start: int, end: int) -> bytes:
        response = self._get(self._address(file.name), {"Range": f"bytes={start}-{end - 1}"})
        self._check_range(response, file, start)
        data = b"".join(body(response))
        if len(data) != end - start:
            raise TransientError(f"asked for {end - start} bytes from {start}, got {len(data)}")
        return data

    def _address(self, name: str) -> str:
        return f"{self._endpoint}/datasets/{self._name}/resolve/{self._revision}/{quote(name)}"

    def _retry(self, what: str, attempt: Callable[[], _T]) -> _T:
        backoff = Backoff(f"{self.title}: {what}")
        while True:
            try:
                return attempt()
            except TransientError as problem:
                backoff.wait(problem)

    def _check_range(self, response: Any, file: File, start: int) -> None:
        if response.status_code == 206:
            place, size = content_range(response)
            if place == start and size == file.bytes:
                return
            raise TransientError(
                f"asked for bytes from {start} of {file.bytes}, got {response.headers.get('Content-Range')}"
            )
        if start or file.bytes > BLOCK_BYTES:
            response.close()
            raise DataError(f"{self.title}: {file.name}: the server does not send ranges of a file, which are needed")

    def _get(self, url: str, headers: dict[str, str] | None = None) -> Any:
        try:
            return get(self._session, url, headers)
        except RefusedError as refusal:
            raise RefusedError(self._explained(refusal), refusal.status, refusal.code) from None

    def _explained(self, refusal: RefusedError) -> str:
        page = f"{self._endpoint}/datasets/{self._name}"
        if refusal.code == "RevisionNotFound":
            return f"{self.title}: the dataset has no revision {self._revision}; see {page}/commits/main"
        if refusal.code == "EntryNotFound":
            return f"{refusal}; the dataset has no such file at this revision, see {page}/tree/{self._revision}"
        if refusal.status in (401, 403) or refusal.code == "RepoNotFound":
            given = "was refused" if os.environ.get("HF_TOKEN") else "is not set"
            return (
                f"{self.title}: not open to you (status {refusal.status}; HF_TOKEN {given}). If it is gated or "
                f"private, ask for access on {page} and set HF_TOKEN to a token of that account; else check its name"
            )
        return f"{self.title}: {refusal}"


class _Ranged(io.RawIOBase):
    """A file on the hub, fetched by blocks of which a few are held: one for each column that is read."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._place = 0
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        if self._place >= self._size:
            return 0
        number, start = divmod(self._place, BLOCK_BYTES)
        piece = memoryview(self._block(number))[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number not in self._held:
            start = number * BLOCK_BYTES
            self._held[number] = self._fetch(start, min(start + BLOCK_BYTES, self._size))
            if len(self._held) > _BLOCKS:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    """In name order, those that the glob matches, as it would in a folder: hidden ones only when they are named."""
    regex = re.compile(glob_translate(pattern))
    hidden = re.compile(r"(^|/)\.")
    return sorted(name for name in names if regex.match(name) and (name == pattern or not hidden.search(name)))


def _licence(card: bytes) -> str | None:
    """The licence that a dataset's card states in its header."""
    header = re.match(rb"\s*---\r?\n(.*?)\r?\n---", card, re.DOTALL)
    try:
        stated = yaml.safe_load(header[1]).get("license") if header else None
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError):
        return None
    return ", ".join(map(str, stated)) if isinstance(stated, list) else stated and str(stated)
