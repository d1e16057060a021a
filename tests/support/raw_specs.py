"""Specs of the raw stage."""

from collections.abc import Mapping

from palimpsest.settings.sources import Source
from palimpsest.specs.data import RawSpec


def raw_spec(*sources: Source, language: str = "en", inventory: Mapping[str, str] | None = None) -> RawSpec:
    """``inventory``: source name → hash of its local files."""
    return RawSpec(language=language, sources=sources, inventory=inventory or {})
