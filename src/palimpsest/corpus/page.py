"""The text of an HTTP response: its body unpacked, decoded, and the main text taken out of the HTML by trafilatura.

Bound by size and never by time, so that the outcome does not depend on a machine's load.
"""

from __future__ import annotations

import codecs
import logging
import re
import zlib

import trafilatura

from palimpsest.corpus.rejected import Rejected
from palimpsest.corpus.warc import MAX_PAGE_BYTES

# Its warnings would be a line for every odd page.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)

_HTML = ("text/html", "application/xhtml+xml")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:\-]+)", re.IGNORECASE)
_LOOKED_AT = 2048
# Encodings of the web. Others that Python knows (idna, unicode_escape …) are no charsets, and some are slow.
_KNOWN = re.compile(
    r"utf-?(8|16)(-?[lb]e)?|(us-)?ascii|latin-?1|iso-?8859-?\d+|windows-\d+|cp\d+|koi8-[ru]|(x-)?(shift|s)[-_]?jis|"
    r"euc-(jp|kr)|iso-2022-jp|gb(k|2312|18030)|big5|tis-620",
    re.IGNORECASE,
)
# As browsers do: what calls itself Latin-1 or ASCII was mostly written in Windows-1252, which holds more.
_AS_WINDOWS = frozenset({"iso8859-1", "ascii"})


def page_text(message: bytes) -> str:
    """The main text of the page. Rejected: http_error, not_html, page_too_large, bad_page, no_main_text."""
    status, fields, body = _parts(message)
    if not 200 <= status < 300:
        raise Rejected("http_error", f"{status}")
    kind = fields.get("content-type", "text/html").lower()
    if not kind.startswith(_HTML):
        raise Rejected("not_html", kind)
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = _joined(body)
    html = decoded(_unpacked(body, fields.get("content-encoding", "").lower()), kind)
    return _main_text(html)


def _parts(message: bytes) -> tuple[int, dict[str, str], bytes]:
    head, found, body = message.partition(b"\r\n\r\n")
    if not found:
        head, _, body = message.partition(b"\n\n")
    first, *lines = head.decode("latin-1").splitlines() or [""]
    if not (match := re.match(r"HTTP/\S+\s+(\d{3})\b", first)):
        raise Rejected("bad_page", first)
    fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return int(match[1]), fields, body


def _joined(body: bytes) -> bytes:
    """The chunks of a body put together; the body itself where a crawler had done so but kept the field."""
    pieces: list[bytes] = []
    at = 0
    while match := re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r?\n").match(body, at):
        size, at = int(match[1], 16), match.end()
        if not size:
            return b"".join(pieces)
        pieces.append(body[at : at + size])
        at += size
        at += 2 if body[at : at + 2] == b"\r\n" else 1
    return b"".join(pieces) if pieces else body


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity", "none"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Rejected("bad_page", f"Content-Encoding: {encoding}")
    if encoding != "deflate" and not body.startswith(b"\x1f\x8b"):
        return body
    # 47: gzip or zlib by the header; -15: the bare deflate that some servers send.
    for window in (47, -15):
        decoder = zlib.decompressobj(window)
        try:
            html = decoder.decompress(body, MAX_PAGE_BYTES + 1)
        except zlib.error:
            continue
        if len(html) > MAX_PAGE_BYTES:
            raise Rejected("page_too_large", html[:_LOOKED_AT].decode(errors="replace"))
        return html
    raise Rejected("bad_page", f"Content-Encoding: {encoding}")


def decoded(html: bytes, content_type: str) -> str:
    """By byte order mark, else the charset of the HTTP field, else of a meta tag, else UTF-8.

    Invalid bytes become U+FFFD, of which corpus.damage allows few.
    """
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if html.startswith(mark):
            return html.decode(encoding, "replace").removeprefix("\ufeff")
    for place in (content_type, html[:_LOOKED_AT].decode("latin-1")):
        if (match := _CHARSET.search(place)) and (codec := _codec(match[1])):
            return html.decode(codec, "replace")
    return html.decode(errors="replace")


def _codec(label: str) -> str | None:
    if not _KNOWN.fullmatch(label):
        return None
    try:
        name = codecs.lookup(label.removeprefix("x-")).name
    except LookupError:
        return None
    return "cp1252" if name in _AS_WINDOWS else name


def _main_text(html: str) -> str:
    """FineWeb's settings, but without trafilatura's own deduplication: its memory would tie a page to those before."""
    try:
        text = trafilatura.extract(html, favor_precision=True, include_comments=False, deduplicate=False)
    except MemoryError:
        raise
    except Exception as error:  # any page can break a parser in its own way; the reason counts them
        raise Rejected("bad_page", f"{type(error).__name__}: {html}") from None
    if not text:
        raise Rejected("no_main_text", html)
    return str(text)
