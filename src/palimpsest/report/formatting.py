"""How numbers and names are written: a true minus sign, grouped digits, units by the thousand."""

from __future__ import annotations

import unicodedata
from decimal import Decimal

from palimpsest.evaluate.results.seed_mean import SeedMean

NONE = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LANGUAGES = {
    "en": "English", "fr": "French", "de": "German", "ar": "Arabic", "ja": "Japanese", "zh": "Chinese", "es": "Spanish",
    "it": "Italian", "pt": "Portuguese", "nl": "Dutch", "ru": "Russian", "pl": "Polish", "tr": "Turkish", "hi": "Hindi",
    "ko": "Korean", "cs": "Czech", "sv": "Swedish", "fi": "Finnish", "uk": "Ukrainian", "vi": "Vietnamese",
}  # fmt: skip


def language(code: str) -> str:
    """The English name of a language, or the code itself where it has none here."""
    return _LANGUAGES.get(code, code)


def language_title(code: str) -> str:
    """English (en)."""
    return code if language(code) == code else f"{language(code)} ({code})"


def isolated(name: str) -> str:
    """A name for running text: one that may be written from right to left must not turn its neighbours round."""
    return name if name.isascii() else f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def loss(value: float) -> str:
    return _minus(f"{value:.3f}")


def signed(value: float) -> str:
    """Three decimals with a sign; a value that rounds to nothing has none."""
    return _minus(f"{value:+.3f}") if abs(value) >= 5e-4 else "0.000"


def spread(quantity: SeedMean) -> str:
    """The standard deviation over seeds as ±, or nothing for one seed."""
    return "" if quantity.sd is None else f"±{quantity.sd:.3f}"


def count(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def counted(number: int, noun: str) -> str:
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def compact(value: float) -> str:
    """Three significant digits and a unit: 1.23 M. Billions are B, as the field writes tokens."""
    for unit, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * factor:
            return f"{_significant(value / factor)}\u202f{unit}"
    return _significant(value)


def scientific(value: float) -> str:
    """3.45×10¹⁵."""
    if not value:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{_minus(mantissa)}×10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def times(value: float) -> str:
    return f"{value:.2f}×"


def percent(share: float) -> str:
    """A share of one as per cent: one decimal below ten, none above; what is there but tiny is not called nothing."""
    value = 100 * share
    if 0 < value < 0.05:
        return "<0.1\u202f%"
    return _minus(f"{value:.1f}" if 0 < abs(value) < 9.95 else f"{value:.0f}") + "\u202f%"


def rate(share: float) -> str:
    """A replay rate as it was asked for: 25 %, 12.5 %."""
    return f"{100 * share:.4g}\u202f%"


def series(arm: str, share: float) -> str:
    """The runs of an arm at one replay rate."""
    return f"{arm} {rate(share)}" if share else arm


def interval(low: float, high: float, digits: int = 3) -> str:
    """From low to high; a dash would be read as a minus sign where a bound is negative."""
    return _minus(
        f"{low:.{digits}f} to {high:.{digits}f}" if min(low, high) < 0 else f"{low:.{digits}f}–{high:.{digits}f}"
    )


def visible(text: str) -> str:
    """Text that a model wrote, on one line: line breaks as ↵, other controls as their pictures, all else as it is.

    Where nothing of it could be seen, blanks are shown as ␣ and other invisible characters by their number.
    """
    return "".join(map(_picture_of_blank if is_blank(text) else _picture, text))


def is_blank(text: str) -> bool:
    """Whether nothing of the text could be seen: spaces, controls, marks without a width."""
    return all(unicodedata.category(letter)[0] in "CZ" for letter in text)


def _picture(letter: str) -> str:
    code = ord(letter)
    if letter == "\n":
        return "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{REPLACEMENT CHARACTER}" if 0xD800 <= code < 0xE000 or 0x7F <= code < 0xA0 else letter


def _picture_of_blank(letter: str) -> str:
    shown = _picture(letter)
    if shown != letter:
        return shown
    return "\N{OPEN BOX}" if letter == " " else f"‹U+{ord(letter):04X}›"


def short(value: float) -> str:
    """Three significant digits, in powers of ten where that is shorter."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return scientific(value)
    return _minus(_significant(value))


def listing(names: list[str], last: str = "and") -> str:
    """a, b and c."""
    return f" {last} ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def sentence(said: str) -> str:
    """With a capital and a full stop."""
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."


def shorten(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _significant(value: float) -> str:
    return f"{Decimal(f'{value:.3g}'):f}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
