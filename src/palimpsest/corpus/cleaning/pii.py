"""Masks personally identifiable information (PII): e-mail and IP addresses, phone, bank account and card numbers.

Each pattern begins with a character that is rare in most text, and a checksum or a numbering plan decides: what only
looks like such a number is kept. Deliberately not masked: private, reserved and documentation IP addresses, their
look-alikes after a word such as "version" or with four one-digit parts (releases, sections, public resolvers), bare
digits without a leading 0 or + as phone numbers, and e-mail addresses outside ASCII.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from phonenumbers import PhoneNumberMatcher

# The country whose numbers are recognised without a country code. Elsewhere, as for Arabic, only +… is a phone number.
_REGIONS = {
    "cs": "CZ", "da": "DK", "de": "DE", "el": "GR", "en": "US", "es": "ES", "fi": "FI", "fr": "FR", "hu": "HU",
    "it": "IT", "ja": "JP", "ko": "KR", "nb": "NO", "nl": "NL", "nn": "NO", "no": "NO", "pl": "PL", "pt": "PT",
    "ro": "RO", "ru": "RU", "sv": "SE", "tr": "TR", "uk": "UA", "vi": "VN", "zh": "CN",
}  # fmt: skip

_EMAIL = re.compile(
    r"(?<![\w.%+\-])[A-Za-z0-9_%+](?:[A-Za-z0-9._%+\-]{0,62}[A-Za-z0-9_%+\-])?"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w\-]|\.\w)",
    re.ASCII,
)
# The look-behind comes after the first digit, so that the search can skip to digits.
_IPV4 = re.compile(r"[0-9](?<![\w.\-][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![\w\-]|\.\w)", re.ASCII)
_VERSION = re.compile(
    r"(?:version|release|build|firmware|revision|rev|ver|update|patch|driver|kernel|section|chapter|§)s?\W{0,3}\Z",
    re.IGNORECASE,
)
_IPV6 = re.compile(r"[23](?<![\w:.][23])[0-9A-Fa-f]{3}(?:(?::{1,2}[0-9A-Fa-f]{1,4}){1,7}(?:::)?|::)(?![\w:])", re.ASCII)
_MIN_IPV6_COLONS = 7  # of an address without ::
_IBAN = re.compile(r"[A-Z](?<![^\W_][A-Z])[A-Z][0-9]{2}(?= ?[A-Z0-9])", re.ASCII)
_CARD = re.compile(r"[0-9](?<![\w.,\-][0-9])(?:[ \-]?[0-9]){12,18}(?![\w\-]|[.,][0-9])", re.ASCII)
_CARD_NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2(?:2[2-9]|[3-6]\d|7[01]))\d+|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|"
    r"(?:6011|65|64[4-9])\d+|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}|(?:50|5[6-9]|6[37])\d+"
)
_PHONE = re.compile(r"\d(?:[ ()./\-\u00a0－‐（）]{0,3}\d){6,}")
# What the library mistakes for numbers in national form: bare digits, decimals, dates, pairs of years, IP look-alikes.
_NOT_PHONE = re.compile(
    r"[1-9]\d*|0123456789|\d\..*|\d{1,2}([./\-])\d{1,2}\1\d{4}|[12]\d{3} ?[\-–/] ?[12]\d{3}|\d{1,3}(?:\.\d{1,3}){3}"
)
# A number that continues before or after what the library found is another number.
_CONTINUES_BEFORE = re.compile(r"(?:\w[./,\-]?|ISBN(?:-1[03])?:? ?)\Z", re.ASCII)
_CONTINUES_AFTER = re.compile(r"[./\-]?\d")
_CONTEXT_CHARACTERS = 40

# Characters of a country's IBAN (ISO 13616).
_IBAN_LENGTHS = """
15 NO; 16 BE; 18 DK FI FK FO GL NL SD; 19 MK SI; 20 AT BA EE KZ LT LU MN XK; 21 CH HR LI LV;
22 BG BH CR DE GB GE IE ME RS VA; 23 AE GI IL IQ OM SO TL; 24 AD CZ ES MD PK RO SA SE SK TN VG; 25 LY PT ST; 26 IS TR;
27 BI DJ FR GR IT MC MR SM; 28 AL AZ BY CY DO GT HU LB NI PL SV; 29 BR EG PS QA UA; 30 JO KW MU YE; 31 MT SC;
32 LC; 33 RU
"""
_IBAN_PATTERNS = {
    country: re.compile(rf"[A-Z](?: ?[A-Z0-9]){{{int(length) - 1}}}(?![A-Za-z0-9])")
    for length, *countries in (line.split() for line in _IBAN_LENGTHS.split(";"))
    for country in countries
}
Spans = Iterator[tuple[int, int]]


class PiiMasker:
    """Replaces the chosen ``kinds`` (email, iban, card, ip, phone) with [EMAIL], [IBAN], [CARD], [IP] and [PHONE].

    Idempotent: a mask holds nothing that would be masked.
    """

    def __init__(self, kinds: Iterable[str], language: str) -> None:
        region = _REGIONS.get(language)
        finders: dict[str, Callable[[str], Spans]] = {
            # Phone numbers come last, since their pattern is the loosest.
            "email": _emails,
            "iban": _ibans,
            "card": _cards,
            "ip": _addresses,
            "phone": lambda text: _phones(text, region),
        }
        chosen = set(kinds)
        self._finders = [(kind, find) for kind, find in finders.items() if kind in chosen]

    def mask(self, text: str) -> tuple[str, Counter[str]]:
        """The masked text, and the number of masks of each kind."""
        counts: Counter[str] = Counter()
        for kind, find in self._finders:
            if spans := list(find(text)):
                counts[kind] = len(spans)
                text = _replaced(text, spans, f"[{kind.upper()}]")
        return text, counts


def _replaced(text: str, spans: list[tuple[int, int]], mask: str) -> str:
    pieces, at = [], 0
    for start, end in spans:
        pieces += [text[at:start], mask]
        at = end
    return "".join([*pieces, text[at:]])


def _emails(text: str) -> Spans:
    return (match.span() for match in _EMAIL.finditer(text)) if "@" in text else iter(())


def _addresses(text: str) -> Spans:
    spans = [match.span() for match in _IPV4.finditer(text) if _is_ipv4(text, match)]
    if "::" in text or text.count(":") >= _MIN_IPV6_COLONS:
        spans += [match.span() for match in _IPV6.finditer(text) if _is_ipv6(match[0])]
    return iter(sorted(spans))


def _is_ipv4(text: str, match: re.Match[str]) -> bool:
    try:
        address = ipaddress.IPv4Address(match[0])
    except ValueError:
        return False
    if not address.is_global or address.is_multicast or all(part < 10 for part in address.packed):
        return False
    return not _VERSION.search(text, max(0, match.start() - _CONTEXT_CHARACTERS), match.start())


def _is_ipv6(found: str) -> bool:
    try:
        return ipaddress.IPv6Address(found).is_global
    except ValueError:
        return False


def _ibans(text: str) -> Spans:
    end = 0
    for match in _IBAN.finditer(text):
        pattern = _IBAN_PATTERNS.get(match[0][:2])
        if pattern is None or match.start() < end or (found := pattern.match(text, match.start())) is None:
            continue
        if _sums_to_one(found[0].replace(" ", "")):
            yield found.span()
            end = found.end()


def _sums_to_one(iban: str) -> bool:
    """The check of ISO 7064 modulo 97, with letters as two digits."""
    return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1


def _cards(text: str) -> Spans:
    for match in _CARD.finditer(text):
        digits = match[0].replace(" ", "").replace("-", "")
        if _CARD_NETWORKS.fullmatch(digits) and _luhn(digits):
            yield match.span()


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _phones(text: str, region: str | None) -> Spans:
    """Searches only around runs of digits, since the library's matcher costs as much as all filters together."""
    done = 0
    for match in _PHONE.finditer(text):
        if match.start() < done:
            continue
        start, stop = max(done, match.start() - _CONTEXT_CHARACTERS), match.end() + _CONTEXT_CHARACTERS
        for phone in PhoneNumberMatcher(text[start:stop], region):
            begin, end = start + phone.start, start + phone.end
            if _is_phone(text, phone.raw_string, begin, end):
                yield begin, end
                done = end


def _is_phone(text: str, found: str, begin: int, end: int) -> bool:
    cut = _CONTINUES_BEFORE.search(text, max(0, begin - 10), begin) or _CONTINUES_AFTER.match(text, end)
    return not cut and not _NOT_PHONE.fullmatch(found)
