"""Models on the Hugging Face hub at a pinned commit; files stay in its cache (HF_HOME). HF_ENDPOINT may name a mirror.

A token for gated models comes from the environment (HF_TOKEN) alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.errors import PalimpsestError


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A model that the keys ``hub`` and ``revision`` of a section of params.yaml name.

    Whatever goes wrong is one ``error`` that names the key; ``instead`` tells how to do without the hub.
    """

    section: str
    name: str
    revision: str
    error: type[PalimpsestError]
    instead: str

    def file(self, file: str, absent: str) -> Path:
        """One file, fetched if it is not in the cache; ``absent``: what to do where the model has none."""
        return self._fetched(
            lambda hub, token: hub.hf_hub_download(self.name, file, revision=self.revision, token=token),
            f"the model has no {file}; {absent}",
        )

    def folder(self, patterns: Sequence[str]) -> Path:
        """A folder with the files whose names match one of the ``patterns``, and no others of the commit."""
        return self._fetched(
            lambda hub, token: hub.snapshot_download(
                self.name, revision=self.revision, allow_patterns=list(patterns), token=token
            ),
            "a file is listed, but not there; try again",
        )

    def __str__(self) -> str:
        return f"{self.section}.hub {self.name} at {self.revision}"

    def _fetched(self, fetch: Callable[[Any, str | bool], str], absent: str) -> Path:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at import: no requests but for the files
        import huggingface_hub  # slow to import, and few models come from the hub
        from huggingface_hub import errors

        offline = f"check the network, HF_ENDPOINT and HF_TOKEN, or {self.instead}"
        try:
            return Path(fetch(huggingface_hub, os.environ.get("HF_TOKEN") or False))
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
            problem = f"cannot be fetched ({type(error).__name__}: {error}); {offline}"
        raise self.error(f"{self}: {problem}")
