"""Language identification with py3langid, whose package includes its model (140 languages)."""

from __future__ import annotations

from functools import cache

from py3langid.langid import MODEL_FILE
from py3langid.langid import LanguageIdentifier as Model

from palimpsest.corpus.languages import IDENTIFIER_LABELS

# The identifier reads every byte in Python: the start and a slice of the middle say as much as all of a novel.
HEAD_CHARACTERS, MIDDLE_CHARACTERS = 2000, 1000


@cache
def _model() -> Model:
    """The model, read once in a process (0.7 s, 100 MB); it holds no state."""
    return Model.from_model_file(MODEL_FILE, norm_probs=True)


class LanguageIdentifier:
    """The probability that a text is in ``language``."""

    def __init__(self, language: str) -> None:
        self._label = IDENTIFIER_LABELS.get(language, language)
        self._model = _model()

    def score(self, text: str) -> tuple[bool, float]:
        """Whether no other language is more probable, and the probability among all languages to four digits.

        Rounded, since the last digits of a float sum differ between processors.
        """
        if len(text) > HEAD_CHARACTERS + 2 * MIDDLE_CHARACTERS:
            middle = len(text) // 2
            text = f"{text[:HEAD_CHARACTERS]}\n{text[middle : middle + MIDDLE_CHARACTERS]}"
        ranked = self._model.rank(text)
        return ranked[0][0] == self._label, round(dict(ranked)[self._label], 4)
