"""A small corpus stage to run: raw folders as the raw stage writes them, specs with all rules off, and results."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from palimpsest.artifact import Manifest, file_digest, read_manifest, write_json, write_manifest
from palimpsest.corpus.build_corpus import build_corpus
from palimpsest.params import parse
from palimpsest.settings.cleaning import Cleaning, Filters
from palimpsest.settings.sources import LocalSource, Source
from palimpsest.specs.data import CorpusSpec

NO_FILTERS = Filters(gopher_repetition=None, gopher_quality=None, c4_quality=None, fineweb_quality=None)
BARE = Cleaning(min_language_score=None, filters=NO_FILTERS, exact_dedup=False, minhash=None)

_WORDS = """the river ran slow under a stone bridge and old boats carried grain salt wool to market every morning when
bells rang over roofs while children played near walls of gardens full with apple pear plum trees that nobody owned
because winter had taken many farmers away from hills where sheep grazed between ruins built long before any king ruled
this land of wind rain mist snow fire smoke ash bread milk honey iron copper glass paper ink letters songs stories"""


def _sentences() -> list[str]:
    rng, words = random.Random(7), _WORDS.split()
    return [" ".join(rng.choice(words) for _ in range(40)) for _ in range(300)]


# 300 distinct English texts of 40 words; they share runs of five words by chance alone.
SENTENCES = _sentences()


@dataclass(frozen=True, kw_only=True)
class CorpusResult:
    """The outputs of a finished run."""

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


class CorpusStage:
    """Builds corpora from files given as name → bytes, below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root, self.source, self.raw, self.out = root, root / "source", root / "raw", root / "out"

    def local(self, name: str = "local", *, path: str | None = None, max_bytes: int | None = None) -> LocalSource:
        """A source of the files below ``source``/``name``."""
        return LocalSource(
            kind="local", name=name, path=path or str(self.source / name / "**" / "*"), max_bytes=max_bytes
        )

    def spec(
        self,
        language: str = "en",
        sources: Iterable[Source] = (),
        *,
        validation_fraction: float = 0.3,
        on_bad_file: Literal["error", "skip"] = "error",
        **cleaning: Any,
    ) -> CorpusSpec:
        """All rules are off but those that ``cleaning`` switches on."""
        return CorpusSpec(
            language=language,
            sources=tuple(sources) or (self.local(),),
            cleaning=replace(BARE, **cleaning),
            validation_fraction=validation_fraction,
            shard_mb=1,
            on_bad_file=on_bad_file,
            evaluation=None,
        )

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

    def build(self, spec: CorpusSpec, out: Path | None = None, workers: int = 1) -> CorpusResult:
        """Build what was placed."""
        build_corpus(spec, self.raw, out or self.out, workers)
        return read_corpus(out or self.out)

    def run(
        self, files: Mapping[str, bytes], *, language: str = "en", workers: int = 1, out: str = "out", **settings: Any
    ) -> CorpusResult:
        """Place files of one local source and build."""
        self.place(local=files)
        return self.build(self.spec(language, **settings), self.root / out, workers)


def every_rule(language: str = "en") -> dict[str, Any]:
    """The cleaning settings of a language when params.yaml does not change them, by key."""
    params = parse({"languages": [language], "corpus": {"sources": {language: {"kind": "sample"}}}}, "test")
    return vars(params.cleaning(language))


def read_corpus(out: Path) -> CorpusResult:
    manifest = read_manifest(out, "corpus")
    train, validation = (
        [line for path in manifest.paths(f"{split}/") for line in read_jsonl_zst(path)]
        for split in ("train", "validation")
    )
    dropped = read_jsonl_zst(out / "dropped.jsonl.zst")
    return CorpusResult(folder=out, manifest=manifest, train=train, validation=validation, dropped=dropped)


def read_jsonl_zst(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    return [json.loads(line) for line in data.decode().split("\n") if line]


def jsonl(documents: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(document, ensure_ascii=False).encode() + b"\n" for document in documents)


def compressed(name: str, data: bytes) -> bytes:
    """The data as a file of this name holds it: gzip, zstd or plain."""
    if name.endswith(".gz"):
        return gzip.compress(data)
    return zstandard.compress(data) if name.endswith(".zst") else data


def parquet(columns: Mapping[str, Any], **options: Any) -> bytes:
    """A Parquet file of these columns; ``options`` are those of pyarrow.parquet.write_table."""
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), sink, **options)
    return sink.getvalue()


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
