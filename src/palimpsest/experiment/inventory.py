"""Hashes of the files outside the project that a language is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from palimpsest.artifact import fingerprint
from palimpsest.codec import encode
from palimpsest.raw.local_files import digest_files, list_files
from palimpsest.settings.base import expand
from palimpsest.settings.params import Params
from palimpsest.settings.sources import AnySource, HfSource


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """``sources``: source name → hash of its local files. ``evaluation``: of the sets that decontamination reads."""

    sources: Mapping[str, str] = field(default_factory=dict)
    evaluation: str | None = None


Inventories = Mapping[str, Inventory]


def take_inventory(params: Params, language: str, cache: Path) -> Inventory:
    """Hash the files of one language; ``cache`` remembers the hashes of unchanged files."""
    patterns = {str(source.name): local_files(source) for source in params.corpus.sources[language]}
    decontamination = params.cleaning(language).decontamination
    sets = [list_files(expand(path), cache) for path in decontamination.paths] if decontamination else None
    return Inventory(
        sources={name: digest_files(pattern, cache) for name, pattern in patterns.items() if pattern},
        evaluation=None if sets is None else fingerprint(encode(sets)),
    )


def local_files(source: AnySource) -> str | None:
    """The glob of a source on this machine."""
    if path := getattr(source, "path", None):
        return expand(path)
    return f"{source.folder}/{source.files}" if isinstance(source, HfSource) and source.folder else None
