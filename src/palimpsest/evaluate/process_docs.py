"""The ``process_docs`` functions of the task files: they reshape the rows of a data set into questions.

Each takes a ``datasets.Dataset`` and returns one. evaluate/task_files/*.yaml name them, so the command line of the
harness asks the same questions.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

_GROUP_SIZE = 5

Row = dict[str, Any]


def choices_of_same_paragraph(dataset: Any) -> Any:
    """XQuAD: ``choices`` are the distinct answers to all questions about a paragraph; ``answer`` is an index.

    A paragraph whose questions all have the same answer is left out.
    """
    return dataset.from_list(
        [
            row
            for _, group in itertools.groupby(dataset, key=lambda row: row["context"])
            for row in _with_choices(
                {"context": row["context"].strip(), "question": row["question"], "answer": _first(row["answers"])}
                for row in group
            )
        ]
    )


def choices_of_neighbours(dataset: Any) -> Any:
    """MGSM: ``choices`` are the distinct answers to five problems in file order; ``answer`` is an index."""
    rows = [{"question": row["question"], "answer": _number(row)} for row in dataset]
    groups = (rows[start : start + _GROUP_SIZE] for start in range(0, len(rows), _GROUP_SIZE))
    return dataset.from_list([row for group in groups for row in _with_choices(group)])


def pronoun_to_gap(dataset: Any) -> Any:
    """XWinograd as its authors publish it: ``sentence`` with _ for the pronoun, two options, ``answer`` "1" or "2"."""
    return dataset.from_list([_gap(*row["columns"]) for row in dataset])


def _with_choices(group: Iterable[Row]) -> list[Row]:
    rows = list(group)
    choices = list(dict.fromkeys(row["answer"] for row in rows))
    if len(choices) < 2:
        return []
    return [row | {"choices": choices, "answer": choices.index(row["answer"])} for row in rows]


def _first(answers: list[str] | Mapping[str, list[str]]) -> str:
    """The local file has a list of answers; the one on the hub has their texts and positions."""
    texts = answers["text"] if isinstance(answers, Mapping) else answers
    return texts[0].strip()


def _number(row: Mapping[str, Any]) -> str:
    """The local file has "2,125" where the one on the hub has a number."""
    return str(row["answer_number"] if "answer_number" in row else row["answer"].replace(",", ""))


def _gap(sentence: str, words: str, pronoun: str, candidates: str) -> Row:
    """The columns after the first are JSON: the words, [pronoun, [first word, end], words], and the candidates."""
    text, (first, _), _ = json.loads(pronoun)
    start = 0
    for word in json.loads(words)[:first]:
        # Quotation marks differ between the words and the sentence.
        found = sentence.find(word, start)
        start = found + len(word) if found >= 0 else start
    start = sentence.index(text, start)
    (option1, _, _, right), (option2, *_) = json.loads(candidates)
    return {
        "sentence": sentence[:start] + "_" + sentence[start + len(text) :],
        "option1": option1,
        "option2": option2,
        "answer": "1" if right else "2",
    }
