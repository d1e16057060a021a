"""The files of a dataset: on the Hugging Face hub at a pinned commit, or in a local folder with the same layout.

huggingface_hub lists the files and makes the requests. Files are read by byte ranges, so that only the columns in use
of a Parquet file are downloaded. Every range is checked, and retried like any other download.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar, cast

import yaml
from fsspec.spec import AbstractBufferedFile
from fsspec.utils import glob_translate

from palimpsest import hub
from palimpsest.errors import DataError
from palimpsest.raw import http_client
from palimpsest.raw.http_client import TRANSIENT_STATUSES, Backoff, TransientError, parse_content_range, retry_after
from palimpsest.raw.local_files import fixed_folder
from palimpsest.settings.sources import HfSource

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

_T = TypeVar("_T")
BLOCK_BYTES = 8 << 20
# One per column that is read, and some for the footer of the file.
_BLOCKS = 4
_CARD_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """A file of a dataset: its path inside the dataset, and its size in bytes."""

    name: str
    bytes: int


class DatasetFiles(Protocol):
    """Lists and opens the files of a dataset. ``title``: the name of the dataset in messages."""

    title: str

    def list(self, pattern: str) -> list[DatasetFile]:
        """The files that a glob matches, in name order."""

    def open(self, file: DatasetFile) -> AbstractContextManager[BinaryIO]:
        """A seekable binary file."""

    def licence(self) -> str | None:
        """The licence in the metadata of the dataset card."""


def dataset_files(source: HfSource) -> DatasetFiles:
    """The files of a source's dataset."""
    return _LocalFiles(Path(source.folder)) if source.folder else _HubFiles(source.dataset, str(source.revision))


class _LocalFiles:
    def __init__(self, root: Path) -> None:
        self.title = str(root)
        self._root = root

    def list(self, pattern: str) -> list[DatasetFile]:
        # The same globbing as in the inventory of local files, which detects changed files.
        names = sorted(set(glob.glob(pattern, root_dir=self._root, recursive=True)))
        paths = {Path(name).as_posix(): self._root / name for name in names}
        return [DatasetFile(name=name, bytes=path.stat().st_size) for name, path in paths.items() if path.is_file()]

    @contextmanager
    def open(self, file: DatasetFile) -> Iterator[BinaryIO]:
        with (self._root / file.name).open("rb") as opened:
            yield opened

    def licence(self) -> str | None:
        card = self._root / "README.md"
        return _licence(card.read_bytes()[:_CARD_BYTES]) if card.is_file() else None


class _HubFiles:
    """Every method retries transient failures and raises DataError for others."""

    def __init__(self, name: str, revision: str) -> None:
        self.title = f"{name}@{revision[:12]}"
        self._name, self._revision = name, revision

    def list(self, pattern: str) -> list[DatasetFile]:
        """Lists only the fixed folder of the glob, since a dataset can have a great many files."""
        folder = fixed_folder(pattern).as_posix()

        def sizes() -> dict[str, int]:
            tree = hub.api().list_repo_tree(
                self._name,
                None if folder == "." else folder,
                recursive=True,
                revision=self._revision,
                repo_type="dataset",
            )
            return {entry.path: entry.size for entry in tree if hasattr(entry, "size")}  # folders have none

        found = self._retry("the list of files", sizes)
        return [DatasetFile(name=name, bytes=found[name]) for name in _matching(found, pattern)]

    @contextmanager
    def open(self, file: DatasetFile) -> Iterator[BinaryIO]:
        def fetch(start: int, end: int) -> bytes:
            return self._retry(file.name, lambda: self._range(file, start, end))

        with closing(_RangedFile(fetch, file)) as opened:
            yield cast(BinaryIO, opened)

    def licence(self) -> str | None:
        from huggingface_hub.errors import RemoteEntryNotFoundError

        try:
            return _licence(self._retry("README.md", self._card))
        except DataError as error:
            if isinstance(error.__cause__, RemoteEntryNotFoundError):
                return None
            raise

    def _card(self) -> bytes:
        card = bytearray()
        with self._get("README.md", {}) as response:
            for piece in response.iter_raw():
                card += piece
                if len(card) >= _CARD_BYTES:
                    break
        return bytes(card)

    def _range(self, file: DatasetFile, start: int, end: int) -> bytes:
        with self._get(file.name, {"Range": f"bytes={start}-{end - 1}"}) as response:
            self._check_range(response, file, start)
            data = b"".join(response.iter_raw())
        if len(data) != end - start:
            raise TransientError(f"requested {end - start} bytes from {start}, got {len(data)}")
        return data

    def _check_range(self, response: httpx2.Response, file: DatasetFile, start: int) -> None:
        """Raises TransientError if the range or the file is not the requested one, DataError if ranges are ignored."""
        if response.status_code == 206:
            content_range = response.headers.get("Content-Range", "")
            if parse_content_range(content_range) != (start, file.bytes):
                raise TransientError(f"requested bytes from {start} of {file.bytes}, got {content_range}")
        elif start or file.bytes > BLOCK_BYTES:
            raise DataError(f"{self.title}: {file.name}: the server does not support range requests, which are needed")

    def _get(self, file: str, headers: dict[str, str]) -> AbstractContextManager[httpx2.Response]:
        return hub.stream_dataset_file(self._name, file, self._revision, headers, http_client.TIMEOUT_S)

    def _retry(self, what: str, request: Callable[[], _T]) -> _T:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

        backoff = Backoff(f"{self.title}: {what}")
        while True:
            try:
                return request()
            except TransientError as problem:
                backoff.wait(problem)
            except (HFValidationError, OfflineModeIsEnabled) as error:
                raise DataError(f"{self.title}: {error}") from None
            except (httpx2.TransportError, ValueError) as error:  # ValueError: a listing that is not JSON
                backoff.wait(TransientError(f"{type(error).__name__}: {error}"))
            except HfHubHTTPError as error:
                status = error.response.status_code
                if status not in TRANSIENT_STATUSES:
                    raise DataError(self._explain(error)) from error
                wait_s = retry_after(error.response.headers.get("Retry-After"))
                backoff.wait(TransientError(f"status {status} {error.response.reason_phrase}".rstrip(), wait_s))

    def _explain(self, error: HfHubHTTPError) -> str:
        from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

        page, status = f"{hub.endpoint()}/datasets/{self._name}", error.response.status_code
        if isinstance(error, RevisionNotFoundError):
            return f"{self.title}: the dataset has no revision {self._revision}; see {page}/commits/main"
        if isinstance(error, RemoteEntryNotFoundError):
            return (
                f"{self.title}: {error.response.url}: the dataset has no such file at this revision, see "
                f"{page}/tree/{self._revision}"
            )
        if status in (401, 403) or isinstance(error, RepositoryNotFoundError):  # gated ones among them
            token = "was refused" if os.environ.get("HF_TOKEN") else "is not set"
            return (
                f"{self.title}: not open to you (status {status}; HF_TOKEN {token}). If it is gated or private, ask "
                f"for access on {page} and set HF_TOKEN to a token of that account; otherwise check its name"
            )
        return f"{self.title}: {error.response.url}: status {status} {error.response.reason_phrase}".rstrip()


class _RangedFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file that is fetched in blocks, of which fsspec caches a few."""

    def __init__(self, fetch: Callable[[int, int], bytes], file: DatasetFile) -> None:
        super().__init__(
            None, file.name, block_size=BLOCK_BYTES, cache_type="blockcache", size=file.bytes,
            cache_options={"maxblocks": _BLOCKS},
        )  # fmt: skip
        self._fetch = fetch

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._fetch(start, min(end, self.size))  # the last block is shorter


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that the glob matches, sorted; as in a folder, hidden files match only their exact name."""
    regex = re.compile(glob_translate(pattern))
    hidden = re.compile(r"(^|/)\.")
    return sorted(name for name in names if regex.match(name) and (name == pattern or not hidden.search(name)))


def _licence(card: bytes) -> str | None:
    from huggingface_hub import DatasetCard

    try:
        stated = DatasetCard(card.decode(errors="replace"), ignore_metadata_errors=True).data.get("license")
    except (yaml.YAMLError, ValueError):
        return None
    return ", ".join(map(str, stated)) if isinstance(stated, list) else stated and str(stated)
