"""The sample corpus: its documented properties, checked by brute force and with established cleaning tools."""

import collections
import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from palimpsest.raw.sample import SampleDocument, cloze_questions, sample_documents
from palimpsest.raw.sample.lexicon import LANGUAGES, RELATIONS, Language, language
from palimpsest.raw.sample.sample_documents import _document
from palimpsest.raw.sample.template import Template, compile_template

STOP_WORDS = {
    "en": ["the", "be", "to", "of", "and", "that", "have", "with"],
    "fr": ["le", "la", "les", "de", "et", "que", "un", "une", "à", "dans", "qui"],
    "de": ["der", "die", "das", "und", "zu", "in", "ein", "nicht", "mit", "den"],
}


@functools.cache
def sample(code: str) -> list[SampleDocument]:
    return list(sample_documents(code, 1000, seed=3))


def of_kind(code: str, truth: str) -> list[SampleDocument]:
    return [document for document in sample(code) if document.truth == truth]


def shingles(code: str, text: str) -> set[tuple[str, ...]]:
    units = list("".join(text.split())) if code == "ja" else text.split()
    return {tuple(units[i : i + 5]) for i in range(len(units) - 4)}


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def templates(lang: Language) -> Iterator[Template]:
    for scene in (lang.opening, lang.closing, *lang.scenes):
        for step in scene:
            yield from (template for template in step if template)
    for fact in lang.facts.values():
        yield from fact.statements
        yield from itertools.chain.from_iterable(fact.questions)


@pytest.mark.parametrize("code", LANGUAGES)
def test_document_depends_on_seed_language_and_index_alone(code: str) -> None:
    first = sample(code)[:60]
    assert first == list(sample_documents(code, 60, seed=3))
    assert _document(code, 3, 41) == first[41]
    assert [document.id for document in first] == [f"{code}-{i:06d}" for i in range(60)]
    assert first != list(sample_documents(code, 60, seed=4))
    assert list(cloze_questions(code, 20, seed=3)) == list(cloze_questions(code, 40, seed=3))[:20]


def test_nothing_is_shared_between_languages_or_seeds() -> None:
    texts = [
        d.text for code in LANGUAGES for seed in (0, 1) for d in sample_documents(code, 100, seed) if d.truth == "clean"
    ]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("code", LANGUAGES)
def test_language_file_is_rich_and_every_slot_has_its_form(code: str) -> None:
    lang = language(code)
    told = list(templates(lang))
    assert len({template.source for template in told}) >= 120
    assert len(lang.scenes) >= 12
    for name in ("name", "trade", "town", "animal", "food", "thing", "place"):
        assert len(lang.tables[name]) >= 30
    for name, table in lang.tables.items():
        assert len({tuple(sorted(entry.items())) for entry in table}) == len(table), f"{name} repeats a word"
    for template in told:
        for key, form in template.slots:
            last = key.rpartition(".")[2].rstrip("23")
            word_class = "name" if last in ("a", "b", "c", "d", "p") else last
            for entry in () if key == "ab" else lang.tables[word_class]:
                assert form in entry, f"{template.source}: {word_class} {entry} has no form {form!r}"


def test_template_errors_name_the_template() -> None:
    for broken in ("{a:x|y|z}", "[x|y", "{a:x|y"):
        with pytest.raises(ValueError, match=re.escape(repr(broken))):
            compile_template(broken, ["m", "f"])


@pytest.mark.parametrize("code", LANGUAGES)
def test_clean_stories_are_whole(code: str) -> None:
    low, high = (220, 720) if code == "ja" else (80, 260)
    for document in of_kind(code, "clean"):
        size = len(document.text) if code == "ja" else len(document.text.split())
        assert low <= size <= high, document.text
        assert not re.search(r"[{}\[\]|<>]|  |\.\.| [.,،。、]|[,、،]{2}", document.text), document.text
        for paragraph in document.text.split("\n\n"):
            assert paragraph[-1] in ".。"
            assert not paragraph[0].islower()


@pytest.mark.parametrize("code", LANGUAGES)
def test_shares_and_interleaving_of_the_planted_kinds(code: str) -> None:
    counts = collections.Counter(document.truth for document in sample(code))
    expected = {"clean": 0.88, "exact_duplicate": 0.03, "near_duplicate": 0.03, "junk": 0.04, "wrong_language": 0.02}
    assert counts.keys() == expected.keys()
    for truth, share in expected.items():  # 4.5 standard deviations of a binomial
        assert abs(counts[truth] - 1000 * share) < 4.5 * (1000 * share * (1 - share)) ** 0.5
    planted = [i for i, document in enumerate(sample(code)) if document.truth != "clean"]
    assert min(planted) < 100 and max(planted) > 900


@pytest.mark.parametrize("code", LANGUAGES)
def test_duplicates_are_of_an_earlier_clean_document(code: str) -> None:
    by_id = {document.id: document for document in sample(code)}
    changed = set()
    for copy in of_kind(code, "exact_duplicate") + of_kind(code, "near_duplicate"):
        original = by_id[copy.of or ""]
        assert original.truth == "clean" and original.id < copy.id
        if copy.truth == "exact_duplicate":
            assert copy.text.split() == original.text.split()
            changed.add(copy.text == original.text)
        else:
            assert copy.text.split() != original.text.split()
            assert jaccard(shingles(code, copy.text), shingles(code, original.text)) >= 0.85
    assert changed == {True, False}


@pytest.mark.parametrize("code", LANGUAGES)
def test_distinct_documents_are_far_apart(code: str) -> None:
    sets = [shingles(code, document.text) for document in of_kind(code, "clean")[:300]]
    similarities = sorted(jaccard(one, other) for one, other in itertools.combinations(sets, 2))
    assert similarities[-1] < 0.4
    assert similarities[len(similarities) * 999 // 1000] < 0.2


@pytest.fixture(scope="session")
def identifier() -> object:
    langid = pytest.importorskip("py3langid.langid")
    model = Path(langid.__file__).with_name("data") / Path(langid.MODEL_FILE).name
    found = langid.LanguageIdentifier.from_modelpath(str(model), norm_probs=True)
    found.set_languages(list(LANGUAGES))
    return found


@pytest.mark.parametrize("code", LANGUAGES)
def test_language_is_identified(code: str, identifier: Any) -> None:
    clean = of_kind(code, "clean")[:150]
    assert sum(identifier.classify(d.text)[0] == code for d in clean) >= 0.98 * len(clean)
    wrong = of_kind(code, "wrong_language")
    assert {d.of for d in wrong} == set(LANGUAGES) - {code}
    assert sum(identifier.classify(d.text)[0] == d.of for d in wrong) >= 0.9 * len(wrong)


def field_filters(code: str) -> list[object]:
    """Gopher's, C4's and FineWeb's filters, with a word splitter that is fast enough for a test."""
    filters = pytest.importorskip("datatrove.pipeline.filters")
    word_tokenizers = pytest.importorskip("datatrove.utils.word_tokenizers")

    class Words(word_tokenizers.WordTokenizer):  # type: ignore[name-defined]
        def word_tokenize(self, text: str) -> list[str]:
            return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text)

        def sent_tokenize(self, text: str) -> list[str]:
            return [text[a:b] for a, b in self.span_tokenize(text)]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [match.span() for match in re.finditer(r"[^.!?]+[.!?]*", text)]

    words = Words(code)
    return [
        filters.GopherQualityFilter(language=words, stop_words=STOP_WORDS[code]),
        filters.GopherRepetitionFilter(language=words),
        filters.C4QualityFilter(language=words),
        filters.FineWebQualityFilter(language=words),
    ]


def passes(filters: list[object], text: str) -> bool:
    from datatrove.data import Document

    document = Document(text=text, id="0")
    return all(one.filter(document) is True for one in filters)  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", STOP_WORDS)
def test_clean_text_passes_established_filters_and_junk_does_not(code: str) -> None:
    filters = field_filters(code)
    clean = of_kind(code, "clean")[:150]
    assert sum(passes(filters, d.text) for d in clean) >= 0.97 * len(clean)
    junk = of_kind(code, "junk")
    assert sum(passes(filters, d.text) for d in junk) <= 0.1 * len(junk)


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_cloze_answer_follows_from_the_context(code: str) -> None:
    lang = language(code)
    questions = list(cloze_questions(code, 160, seed=5))
    for question in questions:
        relation, values = values_of(lang, question["choices"])
        said = {}
        for sentence in re.split(r"(?<=[.。]) ?", question["context"]):
            for name in {e["name"] for e in lang.tables["name"] if mentions(code, sentence, e["name"])}:
                assert name not in said, question
                said[name] = best(sentence, values)
        assert sorted(said.values()) == [0, 1, 2, 3], (relation, question)
        (asked,) = [name for name in said if mentions(code, question["question"], name)]
        assert said[asked] == question["answer"], (relation, question)
    places = collections.Counter(question["answer"] for question in questions)
    assert set(places) == {0, 1, 2, 3} and min(places.values()) > 18  # mean 40, four standard deviations


def values_of(lang: Language, choices: list[str]) -> tuple[str, list[Mapping[str, str]]]:
    """The one relation whose words the choices are, and the word that each is."""
    found = []
    for relation in RELATIONS:
        entries = lang.tables[relation]
        values = [entries[best(choice, entries)] for choice in choices]
        if all(length(choice, value) for choice, value in zip(choices, values, strict=True)):
            found.append((sum(length(c, v) for c, v in zip(choices, values, strict=True)), relation, values))
    _, relation, values = max(found, key=lambda one: one[0])
    return relation, values


def best(text: str, entries: Sequence[Mapping[str, str]]) -> int:
    """The entry of which the longest form occurs in the text."""
    return max(range(len(entries)), key=lambda i: length(text, entries[i]))


def length(text: str, entry: Mapping[str, str]) -> int:
    forms = [form.strip().lower() for key, form in entry.items() if key != "g"]
    return max((len(form) for form in forms if form in text.lower()), default=0)


def mentions(code: str, text: str, name: str) -> bool:
    """Japanese has no spaces; Arabic writes "and" together with the next word, and marks the accusative."""
    if code == "ja":
        return name in text
    word = f"و?{name}(?:ًا)?" if code == "ar" else name
    return re.search(rf"\b{word}\b", text) is not None
