"""A small corpus stage to call: raw folders as the raw stage writes them, and the outputs read back."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from palimpsest.artifact import Manifest, file_digest, read_manifest, write_json, write_manifest
from palimpsest.corpus.build import build

NO_FILTERS = {"gopher_repetition": None, "gopher_quality": None, "c4_quality": None, "fineweb_quality": None}
BARE: dict[str, Any] = {
    "min_language_score": None,
    "filters": NO_FILTERS,
    "exact_dedup": False,
    "minhash": None,
    "validation_fraction": 0.3,
    "shard_mb": 1,
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a build left."""

    folder: Path
    manifest: Manifest
    train: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    dropped: list[dict[str, Any]]

    @property
    def kept(self) -> list[dict[str, Any]]:
        return [*self.train, *self.validation]

    @property
    def texts(self) -> set[str]:
        return {document["text"] for document in self.kept}


class Stage:
    """Builds from files given by name → bytes, all rules off but those that a test switches on."""

    def __init__(self, root: Path) -> None:
        self.root, self.source, self.raw, self.out = root, root / "source", root / "raw", root / "out"

    def spec(self, language: str = "en", **corpus: Any) -> dict[str, Any]:
        source = {"kind": "local", "path": str(self.source / "**" / "*"), "text": "text", "id": "id"}
        return copy.deepcopy({"language": language, "source": source, "corpus": BARE | corpus, "revision": 1})

    def place(self, files: Mapping[str, bytes]) -> None:
        """Write the source files, and the raw stage's folder for them."""
        entries = []
        for name, data in files.items():
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            entries.append({"name": name, "bytes": len(data), "xxh3_128": file_digest(path)})
        write_json(self.raw / "references.json", entries)
        write_manifest(self.raw, stage="raw", params={}, inputs={}, files=[self.raw / "references.json"], counts={})

    def run(
        self, files: Mapping[str, bytes], *, language: str = "en", workers: int = 1, out: str = "out", **corpus: Any
    ) -> Result:
        self.place(files)
        build(self.spec(language, **corpus), self.raw, self.root / out, workers)
        return self.result(self.root / out)

    @staticmethod
    def result(out: Path) -> Result:
        manifest = read_manifest(out, "corpus")
        train, validation = (
            [line for path in manifest.paths(f"{name}/") for line in unpack(path)] for name in ("train", "validation")
        )
        return Result(
            folder=out,
            manifest=manifest,
            train=train,
            validation=validation,
            dropped=unpack(out / "dropped.jsonl.zst"),
        )

    @staticmethod
    def jsonl(documents: list[dict[str, Any]]) -> bytes:
        return b"".join(json.dumps(document, ensure_ascii=False).encode() + b"\n" for document in documents)


def unpack(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    return [json.loads(line) for line in data.decode().split("\n") if line]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def sentences() -> list[str]:
    """300 distinct English texts of 40 words, with no shared run of five words but by chance."""
    import random

    words = [line.strip() for line in _WORDS.split()]
    chance = random.Random(7)
    return [" ".join(chance.choice(words) for _ in range(40)) for _ in range(300)]


_WORDS = """the river ran slow under a stone bridge and old boats carried grain salt wool to market every morning when
bells rang over roofs while children played near walls of gardens full with apple pear plum trees that nobody owned
because winter had taken many farmers away from hills where sheep grazed between ruins built long before any king ruled
this land of wind rain mist snow fire smoke ash bread milk honey iron copper glass paper ink letters songs stories"""
