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

from palimpsest import codec
from palimpsest.artifact import Manifest, file_digest, read_manifest, write_json, write_manifest
from palimpsest.corpus.build_corpus import build_corpus
from palimpsest.params import parse

NO_FILTERS = {"gopher_repetition": None, "gopher_quality": None, "c4_quality": None, "fineweb_quality": None}
BARE: dict[str, Any] = {
    "min_language_score": None,
    "filters": NO_FILTERS,
    "mask_pii": [],
    "decontamination": None,
    "exact_dedup": False,
    "minhash": None,
    "validation_fraction": 0.3,
    "shard_mb": 1,
    "on_bad_file": "error",
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

    def local(self, name: str = "local", **more: Any) -> dict[str, Any]:
        """A source of files below ``source``/``name``."""
        path = str(self.source / name / "**" / "*")
        return {"kind": "local", "name": name, "path": path, "text": "text", "id": "id", "max_bytes": None} | more

    def spec(self, language: str = "en", sources: list[Any] | None = None, **corpus: Any) -> dict[str, Any]:
        given = {"language": language, "sources": sources or [self.local()], "corpus": BARE | corpus}
        return copy.deepcopy(given | {"evaluation": None, "revision": 2})

    def place(self, **sources: Mapping[str, bytes]) -> None:
        """Write the files of each source, and the raw stage's folder for them."""
        for source, files in sources.items():
            entries = []
            for name, data in files.items():
                path = self.source / source / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                entries.append({"name": name, "bytes": len(data), "xxh3_128": file_digest(path)})
            write_json(self.raw / source / "references.json", entries)
        listed = [self.raw / source / "references.json" for source in sources]
        write_manifest(self.raw, stage="raw", params={}, inputs={}, files=listed, counts={})

    def run(
        self, files: Mapping[str, bytes], *, language: str = "en", workers: int = 1, out: str = "out", **corpus: Any
    ) -> Result:
        self.place(local=files)
        build_corpus(self.spec(language, **corpus), self.raw, self.root / out, workers)
        return self.result(self.root / out)

    @staticmethod
    def every_rule(language: str = "en") -> dict[str, Any]:
        """The settings of a language when params.yaml says nothing."""
        sources = {language: {"kind": "sample"}}
        return codec.encode(parse({"languages": [language], "corpus": {"sources": sources}}, "test").cleaning(language))

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
