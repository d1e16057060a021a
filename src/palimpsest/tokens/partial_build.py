"""The finished shards of an interrupted build, which the next run reuses.

They are in ``.build`` inside the folder, each with a marker ``{shard}.json`` that is written after it and says what it
was made from (``fingerprint``) and its counts. Everything else is removed at the start of a build. They stay until the
manifest is written, so that all steps after encoding may be killed at any point and repeated.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from palimpsest import codec
from palimpsest.artifact import MANIFEST, write_json
from palimpsest.errors import ArtifactError
from palimpsest.tokens.megatron import Shard, shard_files
from palimpsest.tokens.shard_encoder import ShardCounts

_FOLDER = ".build"


@dataclass(frozen=True, kw_only=True)
class _Marker:
    """The contents of a marker file."""

    fingerprint: str
    counts: ShardCounts


class PartialBuild:
    """The finished shards for the folder ``out``. ``fingerprints``: name of every shard → hash of its inputs.

    Creating it removes the manifest and every shard that has no such name and fingerprint. ``done``: name → counts of
    the finished shards.
    """

    def __init__(self, out: Path, fingerprints: dict[str, str]) -> None:
        self._out, self._folder, self._fingerprints = out, out / _FOLDER, fingerprints
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in [out / MANIFEST, *out.glob("*.bin"), *out.glob("*.idx"), *out.glob("*.tmp")]:
            path.unlink(missing_ok=True)
        self.done = {name: counts for name in fingerprints if (counts := self._finished(name))}
        retained = {path for name in self.done for path in (self._marker(name), *shard_files(self.prefix(name)))}
        for path in self._folder.iterdir():
            if path not in retained:
                path.unlink()

    def prefix(self, name: str) -> Path:
        """The path of a shard before the suffixes of its two files."""
        return self._folder / name

    def _marker(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _finished(self, name: str) -> ShardCounts | None:
        """The counts in the marker, if it belongs to this build and its shard is complete."""
        try:
            marker, shard = codec.read(_Marker, self._marker(name)), Shard(self.prefix(name))
        except ArtifactError:
            return None
        counts = marker.counts
        is_complete = shard.documents == counts.documents and shard.token_count == counts.tokens
        return counts if is_complete and marker.fingerprint == self._fingerprints[name] else None

    def finish(self, name: str, counts: ShardCounts) -> None:
        """Mark a shard that was written at its prefix."""
        marker = _Marker(fingerprint=self._fingerprints[name], counts=counts)
        write_json(self._marker(name), codec.encode(marker))
        self.done[name] = counts

    def publish(self, name: str) -> None:
        """Put a shard into the folder: as a hard link, or as a copy where links are not allowed."""
        for path in shard_files(self.prefix(name)):
            target = self._out / path.name
            target.unlink(missing_ok=True)
            try:
                target.hardlink_to(path)
            except OSError:
                shutil.copyfile(path, target)

    def close(self) -> None:
        """Remove the working folder, once the manifest is written."""
        shutil.rmtree(self._folder)
