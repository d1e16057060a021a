"""The finished shards of an interrupted build, which the next run reuses.

They are in ``.build`` inside the folder. Each has a marker ``{shard}.json``, written after it, with the hash of its
inputs (``fingerprint``) and its counts. Everything else is removed at the start of a build. The shards stay until the
manifest is written, so that every step after encoding can be killed at any point and repeated.
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

    The constructor removes the manifest and every shard whose name and fingerprint are not among these. ``done``: name
    → counts of the finished shards.
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
        """The counts in the marker, or None unless it belongs to this build and its shard is complete."""
        try:
            marker, shard = codec.read(_Marker, self._marker(name)), Shard(self.prefix(name))
        except ArtifactError:
            return None
        counts = marker.counts
        is_complete = shard.documents == counts.documents and shard.token_count == counts.tokens
        return counts if is_complete and marker.fingerprint == self._fingerprints[name] else None

    def finish(self, name: str, counts: ShardCounts) -> None:
        """Mark a shard, written at its prefix, as finished."""
        marker = _Marker(fingerprint=self._fingerprints[name], counts=counts)
        write_json(self._marker(name), codec.encode(marker))
        self.done[name] = counts

    def publish(self, name: str) -> None:
        """Put a shard into ``out``, as a hard link, or as a copy if the file system has no links."""
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
