"""Text normalisation: Unicode NFC, line feeds, no control characters, no stray white space."""

from __future__ import annotations

import re
import unicodedata

# Control characters (but for tab and line feed), byte order marks and noncharacters carry no text. Form feeds and the
# Unicode separators end a line. Zero-width joiners are kept: Persian and Indic spelling needs them.
_TRANSLATE: dict[int, str | None] = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0xFEFF, 0xFFFE, 0xFFFF))
_TRANSLATE.update((code, "\n") for code in (0x0B, 0x0C, 0x85, 0x2028, 0x2029))
del _TRANSLATE[ord("\t")], _TRANSLATE[ord("\n")]
# Most texts hold none of them, and looking for them costs a tenth of a translation.
_TRANSLATED = re.compile("[" + "".join(map(chr, sorted(_TRANSLATE))) + "]")
_LINE_END = re.compile(r"\r\n?")
# All white space, and the zero-width space, which is as blank at the end of a line.
_BLANK = "\u200b" + "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_BLANK_LINES = re.compile(r"\n{4,}")


def normalise(text: str) -> str:
    """The text as every later step sees it. Idempotent; empty when nothing visible is left.

    Three or more blank lines become one. Trailing white space is removed, indentation inside the text is kept.
    """
    text = _LINE_END.sub("\n", text)
    if _TRANSLATED.search(text):
        text = text.translate(_TRANSLATE)
    text = unicodedata.normalize("NFC", text)
    text = "\n".join([line.rstrip(_BLANK) for line in text.split("\n")])
    return _BLANK_LINES.sub("\n\n", text).strip(_BLANK)
