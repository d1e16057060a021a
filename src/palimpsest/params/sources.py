"""Where text comes from: the kinds of source that a language can have, one or several."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from palimpsest.params.section import Section
from palimpsest.paths import expand

_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
_REVISION = r"[0-9a-f]{40}"
_SHA256 = r"[0-9a-f]{64}"


def expandable(path: str) -> str:
    """The path as it is, if every variable in it is set."""
    if missing := re.search(r"\$\{?(\w+)", expand(path)):
        raise ValueError(f"the environment variable {missing[1]} is not set")
    return path


class AnySource(Section):
    """What all kinds of source share."""

    name: Annotated[str, Field(pattern=f"^{_NAME}$")] | None = Field(
        None, description="what files and tables call it (lower-case letters, digits and hyphens); null: its kind"
    )
    weight: Annotated[float, Field(gt=0)] | None = Field(
        None, description="share of the language's training tokens, against its other sources; all or none have one"
    )
    max_tokens: PositiveInt | None = Field(
        None, description="training tokens to keep at most, thinned evenly over all of the source"
    )
    max_bytes: PositiveInt | None = Field(
        None, description="bytes of records (unpacked, before cleaning) to read at most, from the beginning"
    )
    licence: str | None = Field(None, description="recorded in manifests and the report; null: what the source says")
    origin: str | None = Field(None, description="where the text is from, for the record")


class SampleSource(AnySource):
    """The built-in sample corpus: small worlds told by a seeded generator, with junk and duplicates planted."""

    kind: Literal["sample"]
    documents: PositiveInt = Field(2000, description="documents to generate, before the planted ones are cleaned away")
    seed: int = Field(0, ge=0, description="seed of the generator")


class Columns(AnySource):
    """A source whose records are named fields."""

    text: str = Field("text", description="the column or key that holds the text")
    id: str = Field("id", description="the column or key that names a document; made from file and line where absent")


class LocalSource(Columns):
    """Your own files: JSONL, plain text (one document a file), either also as .gz or .zst, Parquet, WARC or WET."""

    kind: Literal["local"]
    path: str = Field(description="a file or glob (** allowed), relative to the project; ${VARIABLES} are expanded")

    _expandable = field_validator("path")(expandable)


class HfSource(Columns):
    """Files of a Hugging Face dataset (Parquet or JSONL) at a pinned revision; its token comes from HF_TOKEN alone."""

    kind: Literal["hf"]
    preset: Literal["dclm", "fineweb", "fineweb-2", "oscar", "arabic-101b", "abeja-cc-ja"] | None = Field(
        None, description="a dataset by name: sets dataset, revision, files, text, id where these are not given"
    )
    dataset: str = Field("", description="owner/name on the hub, or a local folder of the same layout")
    revision: str | None = Field(None, description="commit hash (40 hex digits); needed unless dataset is a folder")
    files: str = Field("**/*.parquet", description="glob of the files inside the dataset")
    max_documents: PositiveInt | None = Field(None, description="stop after so many documents")

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if not self.dataset:
            raise ValueError("dataset: missing; name one (owner/name, or a local folder), or a preset")
        if not Path(self.dataset).is_dir() and not re.fullmatch(_REVISION, self.revision or ""):
            raise ValueError(
                f"revision must be a commit hash of 40 hex digits for the hub dataset {self.dataset!r}, "
                f"found {self.revision!r}; a branch or tag can move"
            )
        return self


class Download(Section):
    """One file to fetch."""

    url: Annotated[str, Field(pattern=r"^https?://")] = Field(description="http:// or https:// address")
    sha256: Annotated[str, Field(pattern=f"^{_SHA256}$")] = Field(description="SHA-256 of the file, in hex")
    name: Annotated[str, Field(pattern=r"^[\w][\w.\-]*$")] | None = Field(
        None, description="file name to keep it under, whose ending tells its kind; null: the last part of the URL"
    )


class HttpSource(Columns):
    """Files fetched by HTTP, checked by their SHA-256, in any form that `local` reads."""

    kind: Literal["http"]
    urls: Annotated[list[Download], Field(min_length=1)] = Field(description="a list of url, sha256, and name or not")


class WarcSource(AnySource):
    """Common Crawl's WARC (HTML, its text extracted by trafilatura) or WET files, local or fetched by HTTP."""

    kind: Literal["warc"]
    path: str | None = Field(None, description="a file or glob; this or urls")
    urls: Annotated[list[Download], Field(min_length=1)] | None = Field(None, description="as for http; this or path")

    @field_validator("path")
    @classmethod
    def _expandable(cls, path: str | None) -> str | None:
        return None if path is None else expandable(path)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.urls is None):
            raise ValueError("needs either path or urls")
        return self


KINDS: dict[str, type[AnySource]] = {
    "sample": SampleSource,
    "local": LocalSource,
    "hf": HfSource,
    "http": HttpSource,
    "warc": WarcSource,
}
Source = Annotated[SampleSource | LocalSource | HfSource | HttpSource | WarcSource, Field(discriminator="kind")]


def named(sources: list[Any]) -> list[Any]:
    """The sources with a name each: the given one, else the preset's or the kind's."""
    return [
        source.model_copy(update={"name": source.name or getattr(source, "preset", None) or source.kind})
        for source in sources
    ]


def check_mixture(language: str, sources: list[Any]) -> None:
    """Names must differ, and weights be given to all or none."""
    names = [source.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{language}: two sources are called {twice.pop()!r}; give each a name of its own")
    weights = [source.weight for source in sources]
    if None in weights and any(weights):
        raise ValueError(f"{language}: source {names[weights.index(None)]!r} has no weight, but another one has")
