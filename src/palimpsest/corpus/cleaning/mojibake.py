"""Recognises text that was decoded wrongly (mojibake) or is markup, by its characters alone."""

from __future__ import annotations

import re

# Replacement characters, NUL and other controls: at least three, and more than one in a hundred characters.
_MIN_BAD, _MAX_BAD_FRACTION = 3, 0.01
_BAD = re.compile("[\ufffd\x00-\x08\x0e-\x1f\x7f]")

# UTF-8 read as Windows-1252 or Latin-1: a lead byte and its continuation bytes, each as a character.
_TAIL = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_LATIN = re.compile(f"[Â-ß]{_TAIL}|[à-ï]{_TAIL}{{2}}|[ð-ô]{_TAIL}{{3}}")
_MIN_LATIN, _MAX_LATIN_FRACTION = 3, 0.5
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
# UTF-8 kana read as Shift_JIS: every second character is one of these rare kanji.
_SHIFTED = re.compile("[縺繧繝]")
_MAX_SHIFTED_FRACTION = 0.1

_PAGE = re.compile(r"\s*(<!doctype html|<html[\s>]|<\?xml\s)", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>]{0,2000})?/?>|<!--")
# Pages about HTML and e-mails with a quoted page have up to a third.
_MAX_TAG_FRACTION = 0.4


def find_defect(text: str) -> str | None:
    """bad_characters, mojibake or html; None for good text. For text before normalisation, which drops controls."""
    if text.isascii() and not _BAD.search(text):
        return "html" if _is_markup(text) else None
    if (bad := len(_BAD.findall(text))) >= _MIN_BAD and bad > _MAX_BAD_FRACTION * len(text):
        return "bad_characters"
    if _is_mojibake(text):
        return "mojibake"
    return "html" if _is_markup(text) else None


def _is_mojibake(text: str) -> bool:
    if (found := _LATIN.findall(text)) and len(found) >= _MIN_LATIN:
        return len("".join(found)) > _MAX_LATIN_FRACTION * len(_NOT_ASCII.findall(text))
    return len(_SHIFTED.findall(text)) > _MAX_SHIFTED_FRACTION * len(text)


def _is_markup(text: str) -> bool:
    if "<" not in text:
        return False
    return bool(_PAGE.match(text)) or sum(map(len, _TAG.findall(text))) > _MAX_TAG_FRACTION * len(text)
