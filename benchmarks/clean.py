"""Quality filters against datatrove's executor with the same filters: documents per second, JSON Lines to JSON Lines.

Rules and settings are equal, one process runs on each side, and the fastest of three runs counts. Two ratios: datatrove
with our word splitter (``docs_per_s_over_datatrove``), which compares the filters alone, and with its own, spaCy's, as
by default (``docs_per_s_over_datatrove_own_words``). Neither side identifies languages or removes duplicates; ours also
normalises each text and computes its content key.
"""

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import numpy as np
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.logging import logger
from datatrove.utils.word_tokenizers import WordTokenizer

from benchmarks import conclude
from benchmarks.real_text import arguments, own_splitter, pieces
from palimpsest.corpus.cleaning.cleaner import Cleaner, CleaningRules, Columns
from palimpsest.corpus.cleaning.quality_filters import QualityFilters
from palimpsest.corpus.cleaning.word_splitter import RegexWordSplitter
from palimpsest.corpus.reading.read_file import read_file, read_lines
from palimpsest.params import parse
from palimpsest.settings.cleaning import Cleaning

Run = Callable[[Path, Path], int]


def main() -> None:
    """Print the measurements of each language and of all."""
    options = arguments(__doc__, documents=120).parse_args()
    logger.remove()
    seconds, count = np.zeros(3), 0
    for language in options.languages:
        texts = pieces(options.text, language, options.documents)
        took, kept = _timed(_runs(language), texts)
        seconds, count = seconds + took, count + len(texts)
        rates = ", ".join(f"{len(texts) / one:,.0f}/s" for one in took)
        print(f"{language}: {len(texts)} documents; ours, datatrove with our words, with its own: {rates}", flush=True)
        print(f"    kept: {', '.join(map(str, kept))}")
    ratios = {
        "docs_per_s_over_datatrove": seconds[1] / seconds[0],
        "docs_per_s_over_datatrove_own_words": seconds[2] / seconds[0],
    }
    conclude("clean", "datatrove 0.10.1 LocalPipelineExecutor, one process", count, ratios)


def _runs(language: str) -> list[Run]:
    """Ours, datatrove with our words, and datatrove with its own."""
    splitters = (RegexWordSplitter(language), own_splitter(language))
    theirs = [partial(_theirs, filters=_filters(language, splitter)) for splitter in splitters]
    return [partial(_ours, cleaner=_cleaner(language)), *theirs]


def _cleaning(language: str) -> Cleaning:
    """The language's own settings, with C4's rules, so that every language has all four filters."""
    rules: dict[str, Any] = {"filters": {"c4_quality": {}}, "min_language_score": None, "minhash": None}
    corpus = {"sources": {language: {"kind": "sample"}}} | rules
    return parse({"languages": [language], "corpus": corpus}, "benchmark").cleaning(language)


def _cleaner(language: str) -> Cleaner:
    columns = {"given": Columns(text="text", id="id")}
    with patch("palimpsest.corpus.cleaning.cleaner.LanguageIdentifier", return_value=Mock(score=lambda _: (True, 1.0))):
        return Cleaner(CleaningRules(language=language, cleaning=_cleaning(language), columns=columns))


def _filters(language: str, splitter: WordTokenizer) -> list[Any]:
    """Our settings in datatrove's own filters, without our bounds."""
    plain = {
        "FastRepetitionFilter": GopherRepetitionFilter,
        "FastQualityFilter": GopherQualityFilter,
        "QuietC4Filter": C4QualityFilter,
    }
    with patch.multiple("palimpsest.corpus.cleaning.quality_filters", **plain):
        return [rule for _, rule in QualityFilters(language, _cleaning(language).filters, splitter)._filters]


def _timed(runs: list[Run], texts: list[str]) -> tuple[list[float], list[int]]:
    """Seconds of the fastest of three rounds of each run, and the documents that it kept."""
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("few", texts[:5]), ("all", texts)):
            lines = [json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(part)]
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "texts.jsonl").write_text("".join(lines), encoding="utf-8")
        seconds, kept = [], []
        for turn, source in enumerate(("few", "all", "all", "all")):  # the first one imports
            for number, run in enumerate(runs):
                began = time.perf_counter()
                kept.append(run(Path(folder) / source, Path(folder) / f"out-{turn}-{number}"))
                seconds.append(time.perf_counter() - began)
    return np.reshape(seconds, (4, -1))[1:].min(axis=0).tolist(), kept[-len(runs) :]


def _ours(source: Path, out: Path, cleaner: Cleaner) -> int:
    out.mkdir()
    with (out / "kept.jsonl.zst").open("wb") as file:
        for batch in read_file(source / "texts.jsonl", "texts.jsonl", "text", "id"):
            file.write(cleaner.clean(batch, "given").lines)
    return sum(1 for _ in read_lines(out / "kept.jsonl.zst"))


def _theirs(source: Path, out: Path, filters: list[Any]) -> int:
    writer = JsonlWriter(str(out), output_filename="kept.jsonl.zst", compression="zstd")
    steps = [JsonlReader(str(source)), *filters, writer]
    LocalPipelineExecutor(pipeline=steps, tasks=1, workers=1, logging_dir=str(out / "logs")).run()
    return sum(1 for _ in read_lines(out / "kept.jsonl.zst"))


if __name__ == "__main__":
    main()
