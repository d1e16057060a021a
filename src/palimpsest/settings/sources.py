"""Where text comes from: the kinds of source that a language can have, one or several."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from palimpsest.settings.base import HUB_NAME, Bound, Positive, Settings, check_variables, computed, required, setting

_SHA256 = r"^[0-9a-f]{64}\z"
_COMMIT = r"[0-9a-f]{40}"


@dataclass(frozen=True, kw_only=True)
class AnySource(Settings):
    """What all kinds of source share."""

    name: Annotated[str, Bound(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\z")] | None = setting(
        None, "its name in files and tables (lower-case letters, digits and hyphens); null: its preset or kind"
    )
    weight: Annotated[float, Bound(gt=0)] | None = setting(
        None, "share of the language's training tokens, relative to its other sources; all sources have one, or none"
    )
    max_tokens: Positive | None = setting(None, "maximum training tokens, downsampled evenly over the whole source")
    max_bytes: Positive | None = setting(
        None, "maximum bytes of records (decompressed, before cleaning) to read, from the beginning"
    )
    licence: str | None = setting(None, "recorded in manifests and the report; null: that of the source, where known")
    origin: str | None = setting(None, "where the text is from; recorded only")


@dataclass(frozen=True, kw_only=True)
class SampleSource(AnySource):
    """The built-in sample corpus: short stories from a seeded generator, with planted junk and duplicates."""

    kind: Literal["sample"] = required("sample")
    documents: Positive = setting(2000, "documents to generate, before the planted ones are cleaned away")
    seed: Annotated[int, Bound(ge=0)] = setting(0, "seed of the generator")


@dataclass(frozen=True, kw_only=True)
class Columns(AnySource):
    """A source whose records are named fields."""

    text: str = setting("text", "the column or key that holds the text")
    id: str = setting("id", "the column or key that identifies a document; file and line where absent")


@dataclass(frozen=True, kw_only=True)
class LocalSource(Columns):
    """Your own files: JSONL, plain text (one document a file), either also as .gz or .zst, Parquet, WARC or WET."""

    kind: Literal["local"] = required("local")
    path: str = required(
        "a file or glob (** allowed), relative to the project; ${VARIABLES} are expanded", in_fingerprint=False
    )

    def __post_init__(self) -> None:
        check_variables(self.path, "path")


@dataclass(frozen=True, kw_only=True)
class HfSource(Columns):
    """Files of a Hugging Face dataset (Parquet or JSONL) at a pinned revision; its token comes from HF_TOKEN alone."""

    kind: Literal["hf"] = required("hf")
    preset: Literal["dclm", "fineweb", "fineweb-2", "oscar", "arabic-101b", "abeja-cc-ja"] | None = setting(
        None, "a known dataset: sets dataset, revision, files, text and id unless they are set here"
    )
    dataset: str = setting("", "owner/name on the hub, or a local folder of the same layout")
    revision: str | None = setting(None, "commit hash (40 hex digits); required unless dataset is a folder")
    files: str = setting("**/*.parquet", "glob of the files inside the dataset")
    max_documents: Positive | None = setting(None, "stop after this many documents")
    folder: str | None = computed("the local folder that ``dataset`` names, which is then empty")

    def __post_init__(self) -> None:
        if not self.dataset and not self.folder:
            raise ValueError("dataset: missing; name one (owner/name, or a local folder), or a preset")
        if not self.folder and not re.fullmatch(HUB_NAME, self.dataset):
            raise ValueError(
                f"dataset: found {self.dataset!r}, expected owner/name on the hub, or a folder that exists"
            )
        if not self.folder and not re.fullmatch(_COMMIT, self.revision or ""):
            raise ValueError(
                f"revision must be a commit hash of 40 hex digits for the hub dataset {self.dataset!r}, "
                f"found {self.revision!r}; a branch or tag can move"
            )


@dataclass(frozen=True, kw_only=True)
class Download(Settings):
    """One file to download."""

    url: Annotated[str, Bound(pattern=r"^https?://")] = required("http:// or https:// address")
    sha256: Annotated[str, Bound(pattern=_SHA256)] = required("SHA-256 of the file, in hex")
    name: Annotated[str, Bound(pattern=r"^[\w][\w.\-]*\z")] | None = setting(
        None, "file name to store it under, whose ending gives its type; null: the last part of the URL"
    )


Downloads = Annotated[tuple[Download, ...], Bound(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class HttpSource(Columns):
    """Files downloaded by HTTP, checked by their SHA-256, of any type that `local` reads."""

    kind: Literal["http"] = required("http")
    urls: Downloads = required("a list of url, sha256, and optionally name")


@dataclass(frozen=True, kw_only=True)
class WarcSource(AnySource):
    """Common Crawl's WARC (HTML, its text extracted by trafilatura) or WET files, local or downloaded."""

    kind: Literal["warc"] = required("warc")
    path: str | None = setting(None, "a file or glob; this or urls", in_fingerprint=False)
    urls: Downloads | None = setting(None, "as for http; this or path")

    def __post_init__(self) -> None:
        if (self.path is None) == (self.urls is None):
            raise ValueError("needs either path or urls")
        if self.path is not None:
            check_variables(self.path, "path")


KINDS: dict[str, type[AnySource]] = {
    "sample": SampleSource,
    "local": LocalSource,
    "hf": HfSource,
    "http": HttpSource,
    "warc": WarcSource,
}


@dataclass(frozen=True)
class ByKind:
    """Has pydantic choose the class of a source by its key ``kind``."""

    def __get_pydantic_core_schema__(self, _source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        choices = {kind: handler.generate_schema(source) for kind, source in KINDS.items()}
        return core_schema.tagged_union_schema(choices, "kind")


Source = Annotated[SampleSource | LocalSource | HfSource | HttpSource | WarcSource, ByKind()]
Sources = tuple[Source, ...]


def check_mixture(language: str, sources: Sources) -> None:
    """Raise ValueError unless names are unique and all or no sources have a weight."""
    names = [source.name for source in sources]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{language}: two sources are called {repeated.pop()!r}; give each a name of its own")
    weights = [source.weight for source in sources]
    if None in weights and any(weights):
        raise ValueError(f"{language}: source {names[weights.index(None)]!r} has no weight, but another one has")
