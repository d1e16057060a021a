"""WARC and WET files, written by warcio: pages give their main text, or a reason."""

from __future__ import annotations

import gzip
import io
import json
import random

import pytest
from support.corpus_stage import CorpusStage
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from palimpsest.corpus.cleaning.rejected import Rejected
from palimpsest.corpus.cleaning.web_page import decode_html, page_text
from palimpsest.corpus.reading import warc_reader
from palimpsest.errors import DataError

WORDS = "the river ran slow under a stone bridge and old boats carried grain to market every morning".split()


def article(seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choice(WORDS) for _ in range(60)).capitalize() + f" {seed}-{n}." for n in range(5)]


def html(paragraphs: list[str], meta: str = "") -> str:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    menu = "<nav><a href='/'>Home</a><a href='/x'>About us</a></nav>"
    return (
        f"<!DOCTYPE html><html><head>{meta}<title>T</title></head><body>{menu}<article>{body}</article>"
        "<div class='comments'><p>I disagree with all of this, said a reader.</p></div></body></html>"
    )


class Warc:
    """A WARC file in memory."""

    def __init__(self, packed: bool = True) -> None:
        self.sink = io.BytesIO()
        self.writer = WARCWriter(self.sink, gzip=packed)

    def response(self, uri: str, body: bytes, status: str = "200 OK", **fields: str) -> None:
        given = {"Content-Type": "text/html", **{key.replace("_", "-"): value for key, value in fields.items()}}
        head = StatusAndHeaders(status, list(given.items()), protocol="HTTP/1.1")
        record = self.writer.create_warc_record(uri, "response", payload=io.BytesIO(body), http_headers=head)
        self.writer.write_record(record)

    def other(self, kind: str, body: bytes, uri: str = "http://x.org/") -> None:
        self.writer.write_record(self.writer.create_warc_record(uri, kind, payload=io.BytesIO(body),
                                                                warc_content_type="text/plain"))  # fmt: skip

    @property
    def data(self) -> bytes:
        return self.sink.getvalue()


def chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 300] for at in range(0, len(body), 300)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc"])
def test_pages_give_their_main_text_and_all_else_a_reason(stage: CorpusStage, name: str) -> None:
    file = Warc(packed=name.endswith("gz"))
    file.other("warcinfo", b"software: test\r\n")
    for number in range(12):
        file.other("request", b"GET / HTTP/1.1\r\n\r\n")
        file.response(f"http://x.org/{number}", html(article(number)).encode())
        file.other("metadata", b"fetchTimeMs: 5\r\n")
    page_12 = html(article(12)).encode()
    file.response("http://x.org/chunked", chunked(page_12), Transfer_Encoding="chunked")
    file.response("http://x.org/packed", gzip.compress(html(article(13)).encode()), Content_Encoding="gzip")
    file.response("http://x.org/both", chunked(gzip.compress(html(article(14)).encode())), Content_Encoding="gzip",
                  Transfer_Encoding="chunked")  # fmt: skip
    file.response("http://x.org/dechunked", html(article(15)).encode(), Transfer_Encoding="chunked")
    file.response("http://x.org/missing", html(article(16)).encode(), status="404 Not Found")
    file.response("http://x.org/image", b"\x89PNG", Content_Type="image/png")
    file.response("http://x.org/empty", b"<html><body></body></html>")
    file.response("http://x.org/huge", b"<html>" + b"x" * warc_reader.MAX_PAGE_BYTES)
    bomb = gzip.compress(b"<p>x</p>" * (1 << 20))
    file.response("http://x.org/bomb", bomb, Content_Encoding="gzip")
    file.response("http://x.org/brotli", b"\x0b\x02\x80", Content_Encoding="br")
    file.response("http://x.org/truncated", gzip.compress(html(article(17)).encode())[:-200], Content_Encoding="gzip")
    result = stage.run({name: file.data})
    kept = {document["id"]: document["text"] for document in result.kept}
    expected = [*map(str, range(12)), "chunked", "packed", "both", "dechunked", "truncated"]
    assert set(kept) == {f"http://x.org/{path}" for path in expected}
    for number, path in enumerate(expected[:-1]):
        assert kept[f"http://x.org/{path}"] == "\n".join(article(number))
    assert kept["http://x.org/truncated"].startswith(article(17)[0])
    reasons = [entry["reason"] for entry in sorted(result.dropped, key=lambda e: int(e["id"].rpartition(":")[2]))]
    assert reasons == ["http_error", "not_html", "no_main_text", "page_too_large", "page_too_large", "bad_page"]
    assert result.manifest.counts["documents_in"] == len(expected) + len(reasons)
    # Places are counted as an independent reader counts records.
    records = [record.rec_headers.get_header("WARC-Target-URI") for record in ArchiveIterator(io.BytesIO(file.data))]
    places = {entry["reason"]: int(entry["id"].rpartition(":")[2]) for entry in result.dropped}
    assert records[places["http_error"] - 1] == "http://x.org/missing"
    assert records[places["bad_page"] - 1] == "http://x.org/brotli"


def test_wet_records_are_text(stage: CorpusStage) -> None:
    file = Warc()
    file.other("warcinfo", b"software: test\r\n")
    texts = [f"Zeile eins {n}\nZeile zwei, größer als {n}" for n in range(20)]
    for number, text in enumerate(texts):
        file.other("conversion", text.encode(), f"http://x.org/{number}")
    file.other("conversion", b"caf\xe9", "http://x.org/latin")
    result = stage.run({"a.warc.wet.gz": file.data}, language="de")
    assert {d["id"]: d["text"] for d in result.kept} == {f"http://x.org/{n}": text for n, text in enumerate(texts)}
    assert {e["id"]: e["reason"] for e in result.dropped} == {"local/a.warc.wet.gz:22": "bad_utf8"}


@pytest.mark.parametrize("batch_bytes", [1, 3000, 1 << 22])
def test_batches_are_cut_anywhere(stage: CorpusStage, monkeypatch: pytest.MonkeyPatch, batch_bytes: int) -> None:
    from palimpsest.corpus.reading import read_file

    monkeypatch.setattr(read_file, "BATCH_BYTES", batch_bytes)
    file = Warc()
    for number in range(20):
        file.other("request", b"GET")
        file.response(f"http://x.org/{number}", html(article(number)).encode())
        file.response(f"http://x.org/b{number}", html(article(100 + number)).encode())
    assert len(stage.run({"a.warc.gz": file.data}).kept) == 40


def test_damage_is_named_with_its_offset(stage: CorpusStage) -> None:
    file = Warc(packed=False)
    for number in range(5):
        file.response(f"http://x.org/{number}", html(article(number)).encode())
    data = file.data
    last = data.rindex(b"WARC/1.0")
    with pytest.raises(DataError, match=rf"a\.warc: cut short at byte {len(data) - 300} of the decompressed file"):
        stage.run({"a.warc": data[:-300]})
    with pytest.raises(DataError, match=rf"cut short at byte {last + 50} "):
        stage.run({"a.warc": data[: last + 50]})
    with pytest.raises(DataError, match=rf"no WARC record at byte {last} of the decompressed file .*found b'XARC"):
        stage.run({"a.warc": data[:last] + b"X" + data[last + 1 :]})
    packed = gzip.compress(data)
    with pytest.raises(DataError, match=rf"a\.warc\.gz: cut short at byte {len(packed) - 20}"):
        (stage.source / "local/a.warc").unlink()
        stage.run({"a.warc.gz": packed[:-20]})
    no_length = data[last:].replace(b"Content-Length", b"Content-Size", 1)
    with pytest.raises(DataError, match="has no Content-Length"):
        stage.run({"a.warc.gz": gzip.compress(data[:last] + no_length)})
    result = stage.run({"a.warc.gz": gzip.compress(data[:last] + b"X")}, on_bad_file="skip", validation_fraction=0.5)
    assert len(result.kept) == 4


@pytest.mark.parametrize(
    ("content_type", "meta", "encoding"),
    [
        ("text/html; charset=Shift_JIS", "", "shift_jis"),
        ("text/html", '<meta charset="euc-jp">', "euc-jp"),
        ("text/html", "<meta http-equiv='Content-Type' content='text/html; charset=iso-2022-jp'>", "iso-2022-jp"),
        ("text/html; charset=utf-8", '<meta charset="shift_jis">', "utf-8"),
        ("text/html", "", "utf-8"),
        ("text/html; charset=unicode_escape", "", "utf-8"),
        ("text/html; charset=nonsense", "", "utf-8"),
        ("text/html", "", "utf-16"),
        ("text/html", "", "utf-8-sig"),
    ],
)
def test_charsets(content_type: str, meta: str, encoding: str) -> None:
    text = html(["吾輩は猫である。"], meta)
    assert decode_html(text.encode(encoding), content_type) == text


def test_latin_1_means_windows_1252() -> None:
    assert decode_html("“café” – naïve".encode("cp1252"), "text/html; charset=ISO-8859-1") == "“café” – naïve"


@pytest.mark.parametrize(
    "body", [b"<div>" * 100_000, b"<table><tr><td>" * 30_000, b"\0" * 9000, b"<" * 100_000, b"&" * 99]
)
def test_hostile_pages_have_a_reason(body: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        page_text(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body)
    assert caught.value.reason in ("bad_page", "no_main_text")


def test_an_exception_of_the_extractor_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("palimpsest.corpus.cleaning.web_page.trafilatura.extract", broken)
    with pytest.raises(Rejected) as caught:
        page_text(b"HTTP/1.1 200 OK\r\n\r\n<p>x</p>")
    assert (caught.value.reason, caught.value.excerpt[:23]) == ("bad_page", "RecursionError: <p>x</p")


def test_a_page_does_not_depend_on_those_before_it() -> None:
    message = b"HTTP/1.1 200 OK\r\n\r\n" + html(article(1)).encode()
    first = page_text(message)
    assert [page_text(message) for _ in range(5)] == [first] * 5
    assert json.dumps(first)
