"""The main text of an HTTP response: decompresses and decodes the body, and extracts the text by trafilatura.

Limits are on size and never on time, so that the result does not depend on a machine's load.
"""

from __future__ import annotations

import codecs
import logging
import re
import zlib

import trafilatura

from palimpsest.corpus.cleaning.rejected import Rejected
from palimpsest.corpus.reading.warc_reader import MAX_PAGE_BYTES

# It would log a warning for every odd page.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:\-]+)", re.IGNORECASE)
_HEAD_BYTES = 2048
# Encodings of the web. Others that Python knows (idna, unicode_escape …) are not charsets, and some are slow.
_WEB_CHARSET = re.compile(
    r"utf-?(8|16)(-?[lb]e)?|(us-)?ascii|latin-?1|iso-?8859-?\d+|windows-\d+|cp\d+|koi8-[ru]|(x-)?(shift|s)[-_]?jis|"
    r"euc-(jp|kr)|iso-2022-jp|gb(k|2312|18030)|big5|tis-620",
    re.IGNORECASE,
)
# As browsers do: pages labelled Latin-1 or ASCII are mostly Windows-1252, a superset.
_DECODED_AS_WINDOWS_1252 = frozenset({"iso8859-1", "ascii"})


def page_text(message: bytes) -> str:
    """The main text of a page.

    Raises Rejected with http_error, not_html, page_too_large, bad_page or no_main_text.
    """
    status, fields, body = _parse_response(message)
    if not 200 <= status < 300:
        raise Rejected("http_error", f"{status}")
    content_type = fields.get("content-type", "text/html").lower()
    if not content_type.startswith(_HTML_TYPES):
        raise Rejected("not_html", content_type)
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = _join_chunks(body)
    html = decode_html(_decompress(body, fields.get("content-encoding", "").lower()), content_type)
    return _main_text(html)


def _parse_response(message: bytes) -> tuple[int, dict[str, str], bytes]:
    head, found, body = message.partition(b"\r\n\r\n")
    if not found:
        head, _, body = message.partition(b"\n\n")
    first, *lines = head.decode("latin-1").splitlines() or [""]
    if not (match := re.match(r"HTTP/\S+\s+(\d{3})\b", first)):
        raise Rejected("bad_page", first)
    fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return int(match[1]), fields, body


def _join_chunks(body: bytes) -> bytes:
    """The chunks of a body joined; the body itself where a crawler had joined them but kept the header field."""
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


def _decompress(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity", "none"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Rejected("bad_page", f"Content-Encoding: {encoding}")
    if encoding != "deflate" and not body.startswith(b"\x1f\x8b"):
        return body
    # 47: gzip or zlib, by the header; -15: the raw deflate that some servers send.
    for window in (47, -15):
        decoder = zlib.decompressobj(window)
        try:
            html = decoder.decompress(body, MAX_PAGE_BYTES + 1)
        except zlib.error:
            continue
        if len(html) > MAX_PAGE_BYTES:
            raise Rejected("page_too_large", html[:_HEAD_BYTES].decode(errors="replace"))
        return html
    raise Rejected("bad_page", f"Content-Encoding: {encoding}")


def decode_html(html: bytes, content_type: str) -> str:
    """Decode by byte order mark, else by the charset of the HTTP field, else of a meta tag, else as UTF-8.

    Invalid bytes become U+FFFD, of which mojibake.py allows few.
    """
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if html.startswith(mark):
            return html.decode(encoding, "replace").removeprefix("\ufeff")
    for declaration in (content_type, html[:_HEAD_BYTES].decode("latin-1")):
        if (match := _CHARSET.search(declaration)) and (codec := _codec(match[1])):
            return html.decode(codec, "replace")
    return html.decode(errors="replace")


def _codec(label: str) -> str | None:
    if not _WEB_CHARSET.fullmatch(label):
        return None
    try:
        name = codecs.lookup(label.removeprefix("x-")).name
    except LookupError:
        return None
    return "cp1252" if name in _DECODED_AS_WINDOWS_1252 else name


def _main_text(html: str) -> str:
    """FineWeb's settings, but without trafilatura's deduplication, which makes a page depend on those before it."""
    try:
        text = trafilatura.extract(html, favor_precision=True, include_comments=False, deduplicate=False)
    except MemoryError:
        raise
    except Exception as error:  # a page can break a parser in many ways; the reason counts them
        raise Rejected("bad_page", f"{type(error).__name__}: {html}") from None
    if not text:
        raise Rejected("no_main_text", html)
    return str(text)
