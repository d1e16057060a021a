"""The Hugging Face hub: models and datasets at a pinned commit. HF_ENDPOINT may name a mirror.

A token for gated repositories comes from HF_TOKEN only, and is sent to the hub only. Telemetry is off. Files of models
stay in the hub's cache (HF_HOME).
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

from palimpsest.errors import DataError, PalimpsestError

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A model that the keys ``hub`` and ``revision`` of a section of params.yaml name.

    Every failure is one ``error`` that names the key; ``instead`` says how to do without the hub.
    """

    section: str
    name: str
    revision: str
    error: type[PalimpsestError]
    instead: str

    def file(self, file: str, absent: str) -> Path:
        """One file, downloaded if it is not in the cache; ``absent``: what to do if the model does not have it."""
        return self._download(
            lambda library: library.hf_hub_download(self.name, file, revision=self.revision, token=_token()),
            f"the model has no {file}; {absent}",
        )

    def folder(self, patterns: Sequence[str]) -> Path:
        """A folder with the files whose names match one of the ``patterns``, and no others of the commit."""
        return self._download(
            lambda library: library.snapshot_download(
                self.name, revision=self.revision, allow_patterns=list(patterns), token=_token()
            ),
            "a file is listed, but not there; try again",
        )

    def __str__(self) -> str:
        return f"{self.section}.hub {self.name} at {self.revision}"

    def _download(self, download: Callable[[ModuleType], str], absent: str) -> Path:
        library = _library()
        from huggingface_hub import errors

        offline = f"check the network, HF_ENDPOINT and HF_TOKEN, or {self.instead}"
        try:
            return Path(download(library))
        except errors.GatedRepoError:
            problem = "access is gated; accept its conditions on the hub, and set HF_TOKEN to a token of that account"
        except errors.RepositoryNotFoundError:
            problem = "no such model, or one that needs a token; check owner/name, and set HF_TOKEN if it is not public"
        except errors.RevisionNotFoundError:
            problem = f"the model has no such commit; check {self.section}.revision"
        except errors.RemoteEntryNotFoundError:
            problem = absent
        except errors.LocalEntryNotFoundError as error:
            problem = f"not in the cache, and the hub gave no answer ({error.__cause__ or error}); {offline}"
        except Exception as error:  # also those of its HTTP client, which changes from version to version
            problem = f"cannot be downloaded ({type(error).__name__}: {error}); {offline}"
        raise self.error(f"{self}: {problem}")


def endpoint() -> str:
    """The address of the hub or its mirror, without a slash at the end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def api() -> HfApi:
    """The hub's API, for listings."""
    library = _library()
    made: HfApi = library.HfApi(endpoint(), token=_token(), **_user_agent())
    return made


@contextmanager
def stream_dataset_file(
    name: str, file: str, revision: str, headers: Mapping[str, str], timeout_s: tuple[float, float]
) -> Iterator[httpx2.Response]:
    """The answer to one GET request for a file; its body is read from it. ``timeout_s``: to connect, and to read.

    Raises HfHubHTTPError for a status over 399.
    """
    library = _library()
    import httpx2

    url = library.hf_hub_url(name, file, repo_type="dataset", revision=revision, endpoint=endpoint())
    connect_s, read_s = timeout_s
    own = library.utils.build_hf_headers(token=_token(), **_user_agent())
    sent = {**own, "Accept-Encoding": "identity", **headers}
    timeout = httpx2.Timeout(read_s, connect=connect_s)
    with library.get_session().stream("GET", url, headers=sent, timeout=timeout) as response:
        library.utils.hf_raise_for_status(response)
        yield response


@functools.cache
def _library() -> ModuleType:
    """huggingface_hub, which is slow to import."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at import
    import huggingface_hub

    huggingface_hub.set_client_factory(_client)
    return huggingface_hub


def _client() -> httpx2.Client:
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.event_hooks["request"].append(_protect)
    return client


def _protect(request: httpx2.Request) -> None:
    """Withhold the token from other hosts, to which redirects and the next page of a listing may lead.

    Raises DataError for a request that leaves https.
    """
    own, other = _origin(endpoint()), _origin(str(request.url))
    if own.scheme == "https" and other.scheme != "https":
        raise DataError(f"{request.url}: the hub redirects from https to {other.scheme}; refused")
    if other != own:
        request.headers.pop("Authorization", None)


class _Origin(NamedTuple):
    scheme: str
    host: str | None
    port: int | None


def _origin(url: str) -> _Origin:
    parts = urlsplit(url)
    return _Origin(parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme))


def _token() -> str | Literal[False]:
    """False keeps the library from using a token that an earlier login left on this machine."""
    return os.environ.get("HF_TOKEN") or False


def _user_agent() -> dict[str, str]:
    return {"library_name": "palimpsest", "library_version": importlib.metadata.version("palimpsest")}
