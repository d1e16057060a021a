"""Masks of PII: valid numbers are masked, numbers one digit off and look-alikes are kept."""

from __future__ import annotations

import ipaddress
import re
import string
from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.corpus_stage import CorpusStage, jsonl

from palimpsest.corpus.cleaning.pii import PiiMasker

KINDS = ["email", "ip", "phone", "iban", "card"]
ALL = PiiMasker(KINDS, "en")
digits = st.text(string.digits, min_size=1)


def luhn_sum(number: str) -> int:
    """By the table of doubled digits, from the right."""
    return sum(int(d) if at % 2 == 0 else (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[int(d)] for at, d in enumerate(number[::-1]))


@st.composite
def cards(draw: Any) -> str:
    prefix, length = draw(st.sampled_from([("4", 16), ("51", 16), ("55", 16), ("34", 15), ("37", 15), ("6011", 16)]))
    body = prefix + "".join(draw(st.lists(st.sampled_from(string.digits), min_size=length - 1 - len(prefix),
                                          max_size=length - 1 - len(prefix))))  # fmt: skip
    return body + str(-luhn_sum(body + "0") % 10)


@st.composite
def ibans(draw: Any) -> str:
    country, length = draw(st.sampled_from([("DE", 22), ("FR", 27), ("GB", 22), ("NO", 15), ("MT", 31), ("BE", 16)]))
    signs = string.digits + ("" if country in ("DE", "NO", "BE") else string.ascii_uppercase)
    body = "".join(draw(st.lists(st.sampled_from(signs), min_size=length - 4, max_size=length - 4)))
    number = "".join(str(ord(sign) - 55) if sign.isalpha() else sign for sign in f"{body}{country}00")
    return f"{country}{98 - int(number) % 97:02d}{body}"


def other_digit(number: str, place: int, step: int) -> str:
    """The number with one of its digits changed."""
    at = [at for at, sign in enumerate(number) if sign.isdigit()]
    chosen = at[place % len(at)]
    return f"{number[:chosen]}{(int(number[chosen]) + step) % 10}{number[chosen + 1 :]}"


def grouped(number: str, separator: str) -> str:
    return separator.join(number[at : at + 4] for at in range(0, len(number), 4))


@given(cards(), st.sampled_from(["", " ", "-"]), st.integers(0, 15), st.integers(1, 9))
def test_cards(card: str, separator: str, place: int, step: int) -> None:
    assert luhn_sum(card) % 10 == 0
    masker = PiiMasker(["card"], "en")
    assert masker.mask(f"Paid by {grouped(card, separator)}.") == ("Paid by [CARD].", {"card": 1})
    wrong = f"Paid by {grouped(other_digit(card, place, step), separator)}."
    assert masker.mask(wrong) == (wrong, {})


@given(ibans(), st.sampled_from(["", " "]), st.integers(0, 30), st.integers(1, 9))
def test_ibans(iban: str, separator: str, place: int, step: int) -> None:
    masker = PiiMasker(["iban"], "de")
    text = f"Konto {grouped(iban, separator)} BIC COBADEFF, danke"
    assert masker.mask(text) == ("Konto [IBAN] BIC COBADEFF, danke", {"iban": 1})
    wrong = f"Konto {grouped(other_digit(iban, place, step), separator)}, danke"
    assert masker.mask(wrong) == (wrong, {})


@given(st.ip_addresses(v=4))
def test_addresses_of_somebody_are_masked(address: ipaddress.IPv4Address) -> None:
    somebodys = address.is_global and not address.is_multicast and max(address.packed) > 9
    text = f"from {address}:8080, http://{address}/x"
    expected = "from [IP]:8080, http://[IP]/x" if somebodys else text
    assert PiiMasker(["ip"], "en").mask(text)[0] == expected


@given(st.integers(0, 2**125 - 1))
def test_ipv6(low: int) -> None:
    address = ipaddress.IPv6Address(2**125 + low)
    for written in (address.compressed, address.exploded):
        masked = PiiMasker(["ip"], "en").mask(f"at {written} now")[0]
        assert (masked == "at [IP] now") == address.is_global


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("fr", "Appelez le 06 12 34 56 78 ou +33 6 12 34 56 78.", "Appelez le [PHONE] ou [PHONE]."),
        ("fr", "au 0612345678", "au [PHONE]"),
        ("de", "Tel.: 030 12345678, (030) 901820", "Tel.: [PHONE], [PHONE]"),
        ("ja", "電話は03-1234-5678です。０３－１２３４－５６７８", "電話は[PHONE]です。[PHONE]"),
        ("en", "Call (713) 345-3436 or 713-646-3393 today", "Call [PHONE] or [PHONE] today"),
        ("ar", "اتصل على +966 50 123 4567 أو 050 123 4567", "اتصل على [PHONE] أو 050 123 4567"),
        ("en", "mail a.b+c@x-y.co.uk, <me@x.de>.", "mail [EMAIL], <[EMAIL]>."),
        ("en", "mailto:joe@example.com?subject=x", "mailto:[EMAIL]?subject=x"),
    ],
)
def test_written_in_many_ways(language: str, text: str, expected: str) -> None:
    assert PiiMasker(KINDS, language).mask(text)[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "Version 93.184.216.34 and release 12.0.1.55; section 10.21.33.4; v93.184.216.34; 1.2.3.4; 2.13.0.1.7",
        "numpy 1.2.3.4 needs 192.168.0.1, 127.0.0.1, 10.0.0.5 and 224.0.0.251",
        "300.1.1.1, 93.184.216.256 and 93.184.216",
        "12:34:56, std::vector<int>, fe80::1, ::1, a::b::c, 2001:db8::1",
        "In 1914-1918, 1990 1991 1992, from 1648 - 1653, on 16.4.2021 and 2021-04-16 12:00:00.000",
        "oklch(0.627966 0.257704 29.2346), 3.14159265358979, $1,234,567.00, 1616161616, ISBN 0-596-00797-3",
        "user@localhost, @decorator, a @ b.com, C++ & C#, x@y",
        "4111 1111 1111 1112, 4111111111111111111111, 0000 0000 0000 0000",
        "DE00 0000 0000 0000 0000 00, XX12 3456 7890 1234 5678, ABCD1234",
        "",
    ],
)
@pytest.mark.parametrize("language", ["en", "de", "fr", "ja", "ar"])
def test_look_alikes_stay(text: str, language: str) -> None:
    assert PiiMasker(KINDS, language).mask(text) == (text, {})


@given(st.text(st.characters(exclude_characters="@", exclude_categories=["Nd", "Cs"]), max_size=200))
def test_text_without_digits_and_at_is_left_as_it_is(text: str) -> None:
    assert ALL.mask(text) == (text, {})


noise = st.text("0123456789 +-.()@aZeDE4[]:/\n", max_size=40)


@given(st.lists(cards() | ibans() | noise | st.ip_addresses().map(str) | st.emails(), max_size=6), st.data())
def test_masking_is_idempotent_and_keeps_the_rest(pieces: list[str], data: Any) -> None:
    text = data.draw(st.sampled_from(["", " ", ", "])).join(pieces)
    masked, counts = ALL.mask(text)
    assert ALL.mask(masked) == (masked, {})
    for kind in KINDS:
        mask = f"[{kind.upper()}]"
        assert masked.count(mask) - text.count(mask) == counts[kind]
    # What is left is the text with holes.
    parts = [re.escape(part) for part in re.split(r"\[(?:EMAIL|IP|PHONE|IBAN|CARD)\]", masked)]
    assert re.fullmatch(".*".join(parts), text, re.DOTALL)


@pytest.mark.parametrize(("region", "language"), [("US", "en"), ("DE", "de"), ("FR", "fr"), ("JP", "ja")])
def test_example_numbers_of_the_library_are_masked(region: str, language: str) -> None:
    number = phonenumbers.example_number(region)
    assert number is not None
    for style in (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.NATIONAL):
        written = phonenumbers.format_number(number, style)
        assert PiiMasker(["phone"], language).mask(f"Call: {written}!") == ("Call: [PHONE]!", {"phone": 1})


def test_masks_are_counted_before_duplicates_are_sought(stage: CorpusStage) -> None:
    texts = [f"Write to {name}@example.com, please." for name in ("ann", "bob")] + [f"Text {n}" for n in range(20)]
    lines = jsonl([{"id": str(at), "text": text} for at, text in enumerate(texts)])
    result = stage.run({"a.jsonl": lines}, mask_pii=("email",), exact_dedup=True)
    assert result.manifest.counts["masked"] == {"email": 2}
    assert result.manifest.counts["dropped"] == {"exact_duplicate": 1}
    assert "Write to [EMAIL], please." in result.texts
