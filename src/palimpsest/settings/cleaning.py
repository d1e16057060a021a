"""How text is cleaned: language, quality, personal data, contamination, duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from palimpsest.settings.base import Bound, Fraction01, Positive, Settings, check_variables, computed, required, setting
from palimpsest.settings.sources import SampleSource, Sources, check_mixture

# The languages that the bundled language identification (py3langid) tells apart, by ISO 639-1 code.
LANGUAGES = frozenset(
    "af am an ar as az be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr ga gl gu he hi hr ht hu hy id is "
    "it ja jv ka kk km kn ko ku ky la lb lo lt lv mg mk ml mn mr ms mt nb ne nl nn no oc or pa pl ps pt qu ro ru rw se "
    "si sk sl sq sr sv sw ta te th tl tr ug uk ur vi vo wa xh zh zu".split()
)
SAMPLE_LANGUAGES = ("en", "fr", "de", "ar", "ja")
Words = Annotated[float, Bound(ge=0)]
Ratios = Mapping[Positive, Fraction01]


@dataclass(frozen=True, kw_only=True)
class GopherRepetition(Settings):
    """Gopher's repetition rules (Rae et al. 2021), by datatrove; null switches a rule off."""

    dup_line_frac: Fraction01 | None = setting(0.3, "maximum fraction of duplicate lines")
    dup_para_frac: Fraction01 | None = setting(0.3, "maximum fraction of duplicate paragraphs")
    dup_line_char_frac: Fraction01 | None = setting(0.2, "maximum fraction of characters in duplicate lines")
    dup_para_char_frac: Fraction01 | None = setting(0.2, "maximum fraction of characters in duplicate paragraphs")
    top_n_grams: Ratios = setting(
        {2: 0.2, 3: 0.18, 4: 0.16}, "n → maximum fraction of characters in the most frequent n-gram of words"
    )
    dup_n_grams: Ratios = setting(
        {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
        "n → maximum fraction of characters in duplicate n-grams of words",
    )


@dataclass(frozen=True, kw_only=True)
class GopherQuality(Settings):
    """Gopher's quality rules (Rae et al. 2021), by datatrove; null switches a rule off."""

    min_doc_words: Positive | None = setting(50, "minimum number of words in a document")
    max_doc_words: Positive | None = setting(100_000, "maximum number of words in a document")
    min_avg_word_length: Words | None = setting(3, "minimum mean length of words, in characters")
    max_avg_word_length: Words | None = setting(10, "maximum mean length of words, in characters")
    max_symbol_word_ratio: float | None = setting(0.1, "maximum number of # and … per word")
    max_bullet_lines_ratio: Fraction01 | None = setting(0.9, "maximum fraction of lines that begin with a bullet")
    max_ellipsis_lines_ratio: Fraction01 | None = setting(0.3, "maximum fraction of lines that end with an ellipsis")
    max_non_alpha_words_ratio: Fraction01 | None = setting(0.8, "minimum fraction of words with a letter")
    min_stop_words: Annotated[int, Bound(ge=0)] | None = setting(2, "minimum number of distinct stop words")
    stop_words: tuple[str, ...] | None = setting(
        None, "the stop words; null: built in for en, fr, de and ar, and no such rule elsewhere"
    )


@dataclass(frozen=True, kw_only=True)
class C4Quality(Settings):
    """C4's page rules (Raffel et al. 2020), by datatrove, as FineWeb uses them: without end-of-line punctuation."""

    min_num_sentences: int = setting(-1, "minimum number of sentences; -1 switches the rule off")
    filter_no_terminal_punct: bool = setting(False, "drop lines without end punctuation")


@dataclass(frozen=True, kw_only=True)
class FinewebQuality(Settings):
    """FineWeb's own rules (Penedo et al. 2024), by datatrove."""

    line_punct_thr: Fraction01 = setting(0.12, "minimum fraction of lines that end in punctuation")
    short_line_thr: Fraction01 = setting(0.67, "maximum fraction of short lines; 1 switches the rule off")
    char_duplicates_ratio: Fraction01 = setting(
        0.1,
        "maximum fraction of characters in duplicate lines (FineWeb-2's value; FineWeb's 0.01 drops plays and verse)",
    )
    new_line_ratio: float = setting(0.3, "maximum number of line breaks per word")


@dataclass(frozen=True, kw_only=True)
class Filters(Settings):
    """Quality filters in the order in which they run; null switches one off."""

    c4_quality: C4Quality | None = C4Quality()
    fineweb_quality: FinewebQuality | None = FinewebQuality()
    gopher_quality: GopherQuality | None = GopherQuality()
    gopher_repetition: GopherRepetition | None = GopherRepetition()


@dataclass(frozen=True, kw_only=True)
class Decontamination(Settings):
    """Drops documents that share a run of words with an evaluation set, so that no score measures memory."""

    paths: Annotated[tuple[str, ...], Bound(min_length=1)] = required(
        "files or globs of evaluation sets (.jsonl, .jsonl.gz, .jsonl.zst); every string in them counts",
        in_fingerprint=False,
    )
    words: Positive = setting(13, "length of the shared run, in words")
    characters: Positive = setting(40, "length of the shared run in characters, for languages written without spaces")

    def __post_init__(self) -> None:
        for path in self.paths:
            check_variables(path)


@dataclass(frozen=True, kw_only=True)
class Minhash(Settings):
    """Near-duplicate removal: MinHash signatures banded into buckets (LSH)."""

    ngram: Positive = setting(5, "length of a shingle in words (characters, for languages written without spaces)")
    bands: Positive = setting(14, "number of bands; documents that agree in a whole band are near-duplicates")
    rows: Positive = setting(8, "hashes in a band; the similarity threshold is about (1/bands)^(1/rows)")


@dataclass(frozen=True, kw_only=True)
class Cleaning(Settings):
    """What may differ from language to language."""

    min_language_score: Fraction01 | None = setting(
        0.65, "minimum probability of the language whose source the document comes from; null: no check"
    )
    filters: Filters = Filters()
    mask_pii: tuple[Literal["email", "ip", "phone", "iban", "card"], ...] = setting(
        (), "kinds of personal data to mask"
    )
    decontamination: Decontamination | None = setting(
        None, "removal of evaluation sets from the training text; null: off"
    )
    exact_dedup: bool = setting(True, "drop documents whose normalised text is a duplicate")
    minhash: Minhash | None = setting(Minhash(), "near-duplicate removal; null switches it off")


@dataclass(frozen=True, kw_only=True)
class Corpus(Cleaning):
    """Where each language's text comes from, and how it is cleaned."""

    sources: Mapping[str, Sources] = required(
        "by ISO 639-1 code, one source or a list of several; their kinds are below"
    )
    overrides: Mapping[str, Mapping[str, Any]] = setting(
        {}, "language → keys of this section (down to minhash) that override it for that language"
    )
    validation_fraction: Annotated[float, Bound(gt=0, lt=1)] = setting(
        0.02, "fraction of documents held out, selected by a hash of the text; never trained on, never replayed"
    )
    shard_mb: Positive = setting(256, "size of a corpus shard in MB of text (10^6 bytes)")
    on_bad_file: Literal["error", "skip"] = setting(
        "error",
        "at a corrupt file: error stops; skip uses what can be read before the corrupt position, and lists the file",
    )

    cleaning: Mapping[str, Cleaning] | None = computed("by language, the rules that apply after defaults and overrides")

    def __post_init__(self) -> None:
        for language, sources in self.sources.items():
            if language not in LANGUAGES:
                raise ValueError(f"sources: unknown language {language!r}; allowed: {' '.join(sorted(LANGUAGES))}")
            if not sources:
                raise ValueError(f"sources: {language}: an empty list; name at least one source")
            if language not in SAMPLE_LANGUAGES and any(isinstance(source, SampleSource) for source in sources):
                raise ValueError(
                    f"sources: the sample corpus has no {language!r}; it has {', '.join(SAMPLE_LANGUAGES)}"
                )
            check_mixture(language, sources)
        for language in self.overrides:
            if language not in self.sources:
                raise ValueError(f"overrides: {language!r} has no entry in corpus.sources")
