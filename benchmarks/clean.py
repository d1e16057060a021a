"""Quality filters beside datatrove's executor with the same filters: documents a second from JSON Lines to JSON Lines.

The rules and their settings are equal, and one process runs on each side. datatrove splits words by its default, mostly
spaCy, or by our splitter where its own cannot be loaded. Languages are not identified and documents not compared on
either side; ours also normalises and hashes each text.
"""

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.logging import logger
from datatrove.utils.word_tokenizers import load_word_tokenizer

from benchmarks import conclude
from benchmarks.dedup import arguments, pieces
from palimpsest.corpus.cleaning.cleaner import Cleaner, CleaningRules, Columns
from palimpsest.corpus.cleaning.quality_filters import QualityFilters
from palimpsest.corpus.cleaning.word_splitter import RegexWordSplitter
from palimpsest.corpus.reading.read_file import read_file, read_lines
from palimpsest.params import parse

_CODES = {"en": "eng_Latn", "fr": "fra_Latn", "de": "deu_Latn", "ar": "arb_Arab", "ja": "jpn_Jpan"}


def main() -> None:
    """Print the figures of each language and of all."""
    options = arguments(__doc__, documents=120).parse_args()
    logger.remove()
    ours, theirs, count, splitters = 0.0, 0.0, 0, set()
    for language in options.languages:
        splitter = _splitter(language)
        splitters.add("ours" if isinstance(splitter, RegexWordSplitter) else "its own")
        cleaner, filters = _cleaner(language), _filters(language, splitter)
        texts = pieces(options.text, language, options.documents)
        mine, kept = _timed(partial(_ours, cleaner=cleaner), texts)
        other, left = _timed(partial(_theirs, filters=filters), texts)
        ours, theirs, count = ours + mine, theirs + other, count + len(texts)
        print(f"{language}: {len(texts)} documents; ours {len(texts) / mine:,.0f}/s, {other / mine:.1f} times")
        print(f"    kept {kept}, datatrove {left}, its words by {type(splitter).__name__}")
    peer = f"datatrove 0.10.1 LocalPipelineExecutor, one process, words by {' and '.join(sorted(splitters))}"
    conclude("clean", peer, count, {"docs_per_s_over_datatrove": theirs / ours})


def _splitter(language: str) -> Any:
    """datatrove's own splitter of the language if it can be loaded, else ours."""
    try:
        splitter = load_word_tokenizer(_CODES[language])
        splitter.word_tokenize("1")
    except (ImportError, LookupError, OSError, ValueError) as error:
        print(f"{language}: datatrove's splitter cannot be loaded ({error})")
        return RegexWordSplitter(language)
    return splitter


def _corpus(language: str) -> dict[str, Any]:
    """The language's own settings, with C4's rules, so that there are four filters for all."""
    chosen = {"filters": {"c4_quality": {}}, "min_language_score": None, "minhash": None}
    corpus = {"sources": {language: {"kind": "sample"}}} | chosen
    return parse({"languages": [language], "corpus": corpus}, "benchmark").corpus.cleaning(language)


def _cleaner(language: str) -> Cleaner:
    with patch("palimpsest.corpus.cleaning.cleaner.LanguageIdentifier", return_value=Mock(score=lambda _: (True, 1.0))):
        columns = {"given": Columns(text="text", id="id")}
        return Cleaner(CleaningRules(language=language, cleaning=_corpus(language), columns=columns))


def _filters(language: str, splitter: Any) -> list[Any]:
    """Our settings in datatrove's filters, without our shortcuts."""
    plain = {
        "FastRepetitionFilter": GopherRepetitionFilter,
        "FastQualityFilter": GopherQualityFilter,
        "QuietC4Filter": C4QualityFilter,
    }
    with patch.multiple("palimpsest.corpus.cleaning.quality_filters", **plain):
        return [rule for _, rule in QualityFilters(language, _corpus(language)["filters"], splitter)._filters]


def _timed(run: Callable[[Path, Path], int], texts: list[str]) -> tuple[float, int]:
    """Seconds and documents kept of the second run: the first one imports."""
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("first", texts[:5]), ("second", texts)):
            given, out = Path(folder) / name / "given", Path(folder) / name / "out"
            given.mkdir(parents=True)
            rows = [json.dumps({"id": str(at), "text": text}) + "\n" for at, text in enumerate(part)]
            (given / "given.jsonl").write_text("".join(rows), encoding="utf-8")
            began = time.perf_counter()
            kept = run(given, out)
        return time.perf_counter() - began, kept


def _ours(given: Path, out: Path, cleaner: Cleaner) -> int:
    out.mkdir()
    with (out / "kept.jsonl.zst").open("wb") as file:
        for batch in read_file(given / "given.jsonl", "given.jsonl", "text", "id"):
            file.write(cleaner.clean(batch, "given").lines)
    return sum(1 for _ in read_lines(out / "kept.jsonl.zst"))


def _theirs(given: Path, out: Path, filters: list[Any]) -> int:
    writer = JsonlWriter(str(out), output_filename="kept.jsonl.zst", compression="zstd")
    steps = [JsonlReader(str(given)), *filters, writer]
    LocalPipelineExecutor(pipeline=steps, tasks=1, workers=1, logging_dir=str(out / "logs")).run()
    return sum(1 for _ in read_lines(out / "kept.jsonl.zst"))


if __name__ == "__main__":
    main()
