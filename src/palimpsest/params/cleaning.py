"""How text is cleaned: language, quality, personal data, contamination, duplicates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from palimpsest.params.built_in import CLEANING
from palimpsest.params.presets import filled
from palimpsest.params.section import Fraction01, Section
from palimpsest.params.sources import SampleSource, Source, check_mixture, expandable, named

# The languages that the bundled language identification (py3langid) tells apart, by ISO 639-1 code.
LANGUAGES = frozenset(
    "af am an ar as az be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr ga gl gu he hi hr ht hu hy id is "
    "it ja jv ka kk km kn ko ku ky la lb lo lt lv mg mk ml mn mr ms mt nb ne nl nn no oc or pa pl ps pt qu ro ru rw se "
    "si sk sl sq sr sv sw ta te th tl tr ug uk ur vi vo wa xh zh zu".split()
)
SAMPLE_LANGUAGES = ("en", "fr", "de", "ar", "ja")
Words = Annotated[float, Field(ge=0)]
Ratios = dict[PositiveInt, Fraction01]


class GopherRepetition(Section):
    """Gopher's repetition rules (Rae et al. 2021), by datatrove; null switches a rule off."""

    dup_line_frac: Fraction01 | None = Field(0.3, description="most lines that were there before")
    dup_para_frac: Fraction01 | None = Field(0.3, description="most paragraphs that were there before")
    dup_line_char_frac: Fraction01 | None = Field(0.2, description="most characters in such lines")
    dup_para_char_frac: Fraction01 | None = Field(0.2, description="most characters in such paragraphs")
    top_n_grams: Ratios = Field(
        {2: 0.2, 3: 0.18, 4: 0.16}, description="by n: most characters in the commonest run of n words"
    )
    dup_n_grams: Ratios = Field(
        {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
        description="by n: most characters in runs of n words that were there before",
    )


class GopherQuality(Section):
    """Gopher's quality rules (Rae et al. 2021), by datatrove; null switches a rule off."""

    min_doc_words: PositiveInt | None = Field(50, description="fewest words in a document")
    max_doc_words: PositiveInt | None = Field(100_000, description="most words in a document")
    min_avg_word_length: Words | None = Field(3, description="least mean length of a word, in characters")
    max_avg_word_length: Words | None = Field(10, description="greatest mean length of a word")
    max_symbol_word_ratio: float | None = Field(0.1, description="most # and … per word")
    max_bullet_lines_ratio: Fraction01 | None = Field(0.9, description="most lines that begin with a bullet")
    max_ellipsis_lines_ratio: Fraction01 | None = Field(0.3, description="most lines that end with an ellipsis")
    max_non_alpha_words_ratio: Fraction01 | None = Field(0.8, description="least share of words with a letter")
    min_stop_words: int | None = Field(2, ge=0, description="fewest distinct stop words")
    stop_words: list[str] | None = Field(
        None, description="the stop words; null: built in for en, fr, de and ar, and no such rule elsewhere"
    )


class C4Quality(Section):
    """C4's page rules (Raffel et al. 2020), by datatrove, as FineWeb uses them: without end-of-line punctuation."""

    min_num_sentences: int = Field(-1, description="fewest sentences; -1 switches the rule off")
    filter_no_terminal_punct: bool = Field(False, description="drop lines without end punctuation")


class FinewebQuality(Section):
    """FineWeb's own rules (Penedo et al. 2024), by datatrove."""

    line_punct_thr: Fraction01 = Field(0.12, description="least share of lines that end in punctuation")
    short_line_thr: Fraction01 = Field(0.67, description="most lines that are short; 1 switches the rule off")
    char_duplicates_ratio: Fraction01 = Field(
        0.1, description="most characters in duplicated lines (FineWeb-2's value; FineWeb's 0.01 drops plays and verse)"
    )
    new_line_ratio: float = Field(0.3, description="most line breaks per word")


class Filters(Section):
    """Quality filters in the order in which they run; null switches one off."""

    gopher_repetition: GopherRepetition | None = GopherRepetition()
    gopher_quality: GopherQuality | None = GopherQuality()
    c4_quality: C4Quality | None = C4Quality()
    fineweb_quality: FinewebQuality | None = FinewebQuality()


class Decontamination(Section):
    """Drops documents that share a run of words with an evaluation set, so that no score measures memory."""

    paths: Annotated[list[str], Field(min_length=1)] = Field(
        description="files or globs of evaluation sets (.jsonl, .jsonl.gz, .jsonl.zst); every string in them counts"
    )
    words: PositiveInt = Field(13, description="words in a run that two texts must share")
    characters: PositiveInt = Field(40, description="the same in characters, for languages without spaces")

    @field_validator("paths")
    @classmethod
    def _expandable(cls, paths: list[str]) -> list[str]:
        return [expandable(path) for path in paths]


class Minhash(Section):
    """Near-duplicate removal: MinHash signatures banded into buckets (LSH)."""

    ngram: PositiveInt = Field(5, description="words (characters, for languages without spaces) in a shingle")
    bands: PositiveInt = Field(14, description="buckets; two documents that share one are near-duplicates")
    rows: PositiveInt = Field(8, description="hashes in a band; the threshold is about (1/bands)^(1/rows)")


class Cleaning(Section):
    """What may differ from language to language."""

    min_language_score: Fraction01 | None = Field(
        0.65, description="least probability of the language that the document is filed under; null: no check"
    )
    filters: Filters = Filters()
    mask_pii: list[Literal["email", "ip", "phone", "iban", "card"]] = Field(
        [], description="personal data to mask in the text: email, ip, phone, iban, card"
    )
    decontamination: Decontamination | None = Field(None, description="evaluation sets to keep out; null: no check")
    exact_dedup: bool = Field(True, description="drop documents whose normalised text was seen before")
    minhash: Minhash | None = Field(Minhash(), description="near-duplicate removal; null switches it off")


class Corpus(Cleaning):
    """Where each language's text comes from, and how it is cleaned."""

    sources: dict[str, list[Source]] = Field(
        description="by ISO 639-1 code, one source or a list of several; their kinds are below"
    )
    overrides: dict[str, dict[str, Any]] = Field(
        {}, description="by language, keys of this section (down to minhash) that differ from what is said for all"
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.02, description="share of documents held out, by a hash of the text; never trained on, never replayed"
    )
    shard_mb: PositiveInt = Field(256, description="size of a corpus shard in MB of text (10^6 bytes)")
    on_bad_file: Literal["error", "skip"] = Field(
        "error",
        description="a damaged file: error stops; skip keeps what can be read before the damage, and lists the file",
    )

    @field_validator("sources", mode="before")
    @classmethod
    def _listed(cls, sources: Any) -> Any:
        if not isinstance(sources, dict):
            return sources
        listed = {language: given if isinstance(given, list) else [given] for language, given in sources.items()}
        return {language: [filled(language, source) for source in given] for language, given in listed.items()}

    @field_validator("sources")
    @classmethod
    def _known(cls, sources: dict[str, list[Source]]) -> dict[str, list[Source]]:
        for language, given in sources.items():
            if language not in LANGUAGES:
                raise ValueError(f"unknown language {language!r}; allowed: {' '.join(sorted(LANGUAGES))}")
            if not given:
                raise ValueError(f"{language}: an empty list; name at least one source")
            if language not in SAMPLE_LANGUAGES and any(isinstance(source, SampleSource) for source in given):
                raise ValueError(f"the sample corpus has no {language!r}; it has {', '.join(SAMPLE_LANGUAGES)}")
        with_names = {language: named(given) for language, given in sources.items()}
        for language, given in with_names.items():
            check_mixture(language, given)
        return with_names

    @model_validator(mode="after")
    def _overridable(self) -> Corpus:
        for language in self.overrides:
            if language not in self.sources:
                raise ValueError(f"overrides: {language!r} has no entry in corpus.sources")
            try:
                self.cleaning(language)
            except ValidationError as error:
                problem = error.errors()[0]
                key = ".".join(str(part) for part in problem["loc"])
                raise ValueError(f"overrides.{language}.{key}: {problem['msg']}") from None
        return self

    def cleaning(self, language: str) -> dict[str, Any]:
        """The settings of one language: defaults, below what is published for it, the user's, and the overrides."""
        given = self.model_dump(exclude_unset=True, include=set(Cleaning.model_fields))
        merged = _merged(_merged(CLEANING.get(language, {}), given), self.overrides.get(language, {}))
        return Cleaning.model_validate(merged).model_dump(mode="json")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``, section by section."""
    both = {
        key: _merged(below[key], value) for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }  # fmt: skip
    return below | above | both
