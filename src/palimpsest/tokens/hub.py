"""A tokenizer.json from the Hugging Face hub: that file alone, at a pinned commit."""

from __future__ import annotations

import os
from pathlib import Path

from palimpsest.errors import DataError


def tokenizer_json(repository: str, revision: str) -> Path:
    """The file in the hub's cache (HF_HOME), fetched if it is not there; HF_ENDPOINT may name a mirror.

    A token for gated models comes from the environment (HF_TOKEN) alone. Raises DataError.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at import: no requests but for the file
    from huggingface_hub import errors, hf_hub_download  # slow to import, and few tokenizers come from the hub

    place = f"tokenizer.hub {repository} at {revision}"
    try:
        return Path(
            hf_hub_download(repository, "tokenizer.json", revision=revision, token=os.environ.get("HF_TOKEN") or False)
        )
    except errors.GatedRepoError:
        problem = "access is gated; accept its conditions on the hub, and set HF_TOKEN to a token of that account"
    except errors.RepositoryNotFoundError:
        problem = "no such model, or one that needs a token; check owner/name, and set HF_TOKEN if it is not public"
    except errors.RevisionNotFoundError:
        problem = "the model has no such commit; check tokenizer.revision"
    except errors.RemoteEntryNotFoundError:
        problem = "the model has no tokenizer.json; convert its tokenizer, and give the file as tokenizer.path"
    except errors.LocalEntryNotFoundError as error:
        problem = f"not in the cache, and the hub gave no answer ({error.__cause__ or error}); {_OFFLINE}"
    except Exception as error:  # also those of its HTTP client, which changes from version to version
        problem = f"cannot be fetched ({type(error).__name__}: {error}); {_OFFLINE}"
    raise DataError(f"{place}: {problem}")


_OFFLINE = "check the network, HF_ENDPOINT and HF_TOKEN, or give the file as tokenizer.path"
