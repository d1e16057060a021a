"""The shards of a build that is not finished: what a killed build leaves, and the next one keeps.

They lie whole in ``.build`` inside the folder, each with a marker ``{shard}.json``, written after it, that tells what
it was made from (``fingerprint``) and what it holds. Nothing else survives the start of a build. They stay there until
the manifest is written, so that whatever comes after encoding may be killed at any point and done again.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from palimpsest.artifact import MANIFEST, read_json, write_json
from palimpsest.errors import ArtifactError
from palimpsest.tokens.megatron import Shard, files
from palimpsest.tokens.shards import Counts

_FOLDER = ".build"


class Unfinished:
    """The unfinished shards of the folder ``out``. ``wanted``: name of every shard → fingerprint of what makes it.

    Opening removes the manifest and all files that are not wanted. ``done``: name → counts of the shards that are here.
    """

    def __init__(self, out: Path, wanted: dict[str, str]) -> None:
        self._out, self._folder, self._wanted = out, out / _FOLDER, wanted
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in [out / MANIFEST, *out.glob("*.bin"), *out.glob("*.idx"), *out.glob("*.tmp")]:
            path.unlink(missing_ok=True)
        self.done = {name: counts for name in wanted if (counts := self._counts(name))}
        keep = {path for name in self.done for path in (self._marker(name), *files(self.prefix(name)))}
        for path in self._folder.iterdir():
            if path not in keep:
                path.unlink()

    def prefix(self, name: str) -> Path:
        """Where the whole shard is written, and lies."""
        return self._folder / name

    def _marker(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _counts(self, name: str) -> Counts | None:
        """What the marker says, if it is of this build and its shard is there."""
        try:
            marker = read_json(self._marker(name))
            counts, shard = Counts(**marker["counts"]), Shard(self.prefix(name))
        except (ArtifactError, KeyError, TypeError):
            return None
        holds = shard.documents == counts.documents and shard.token_count == counts.tokens
        return counts if holds and marker["fingerprint"] == self._wanted[name] else None

    def finish(self, name: str, counts: Counts) -> None:
        """Mark a shard that was written at its prefix."""
        write_json(self._marker(name), {"fingerprint": self._wanted[name], "counts": asdict(counts)})
        self.done[name] = counts

    def place(self, name: str) -> None:
        """Give the folder the whole shard: the same file under a second name, or a copy where links are not allowed."""
        for path in files(self.prefix(name)):
            place = self._out / path.name
            place.unlink(missing_ok=True)
            try:
                place.hardlink_to(path)
            except OSError:
                shutil.copyfile(path, place)

    def close(self) -> None:
        """Remove what lies here, once the manifest is written."""
        shutil.rmtree(self._folder)
