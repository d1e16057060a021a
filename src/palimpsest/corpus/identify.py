"""Language identification with py3langid, whose model (140 languages) comes inside its package."""

from __future__ import annotations

from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from palimpsest.corpus.languages import IDENTIFIER_LABELS

# The identifier walks every byte in Python: a start and a slice of the middle say as much as a whole novel.
HEAD, MIDDLE = 2000, 1000


@cache
def _model() -> LanguageIdentifier:
    """The model, read once in a process (0.7 s, 100 MB); it holds no state."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


class Identifier:
    """How probable it is that a text is in ``language``."""

    def __init__(self, language: str) -> None:
        self._label = IDENTIFIER_LABELS.get(language, language)
        self._model = _model()

    def score(self, text: str) -> tuple[bool, float]:
        """Whether no other language is likelier, and the probability among all languages to four digits.

        Rounded, since the last digits of a float sum differ between processors.
        """
        if len(text) > HEAD + 2 * MIDDLE:
            middle = len(text) // 2
            text = f"{text[:HEAD]}\n{text[middle : middle + MIDDLE]}"
        ranked = self._model.rank(text)
        return ranked[0][0] == self._label, round(dict(ranked)[self._label], 4)
