"""Downloads from a real server that cuts, stalls and serves wrong or changed files, and a killed process."""

import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from support.web_server import WebServer

from palimpsest.errors import DataError
from palimpsest.raw import http_client
from palimpsest.raw.download import DownloadedFile, download_files
from palimpsest.settings.sources import Download

DATA = random.Random(1).randbytes(900_000)
SHA = hashlib.sha256(DATA).hexdigest()
pytestmark = pytest.mark.usefixtures("impatient")


def downloads(url: str, sha256: str = SHA) -> list[Download]:
    return [Download(url=url, sha256=sha256)]


def test_a_file_is_downloaded_once(web: WebServer, tmp_path: Path) -> None:
    url = web.script("/a/b%20c.jsonl", lambda page: page.file(DATA))
    assert download_files(downloads(url), tmp_path) == [
        DownloadedFile(url=url, sha256=SHA, name="b c.jsonl", bytes=len(DATA))
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["b c.jsonl"]
    assert (tmp_path / "b c.jsonl").read_bytes() == DATA
    assert web.log[0].headers["user-agent"].startswith("palimpsest/") and web.log[0].range is None
    download_files(downloads(url), tmp_path)
    assert len(web.log) == 1
    (tmp_path / "b c.jsonl").write_bytes(DATA[:-1])
    (tmp_path / "no-longer-requested").touch()
    download_files(downloads(url), tmp_path)
    assert len(web.log) == 2 and (tmp_path / "b c.jsonl").read_bytes() == DATA
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_cut_connection_resumes(web: WebServer, tmp_path: Path, etag: str | None) -> None:
    cuts = [300_000, 200_000]
    url = web.script("/f", *(lambda page, cut=cut: page.file(DATA, cut=cut, etag=etag) for cut in (*cuts, None)))
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == DATA
    assert [request.range for request in web.log] == [None, "bytes=300000-", "bytes=500000-"]
    assert [request.headers.get("if-range") for request in web.log] == [None, etag, etag]
    assert sum(request.sent for request in web.log) == len(DATA)


def test_a_server_without_ranges_restarts_from_scratch(web: WebServer, tmp_path: Path) -> None:
    url = web.script(
        "/f", lambda page: page.answer(200, DATA[:400_000], length=len(DATA)), lambda page: page.answer(200, DATA)
    )
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == DATA
    assert [request.range for request in web.log] == [None, "bytes=400000-"]


def test_a_server_that_always_cuts_is_an_error_after_some_attempts(web: WebServer, tmp_path: Path) -> None:
    url = web.script("/f", lambda page: page.answer(200, DATA[:400_000], length=len(DATA)))
    with pytest.raises(DataError, match=r"gave up after 7 attempts") as error:
        download_files(downloads(url), tmp_path)
    assert url in str(error.value)
    # Getting as far as before is not progress.
    assert len(web.log) == http_client.ATTEMPTS
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == [".f.part"]


def test_progress_resets_the_backoff(web: WebServer, tmp_path: Path) -> None:
    """More cuts than attempts, each after some more bytes."""
    url = web.script("/f", lambda page: page.file(DATA, cut=70_000))
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == DATA
    assert len(web.log) == 13 > http_client.ATTEMPTS


def chunked(pieces: list[bytes], whole: bool) -> Any:
    def page(page: Any) -> None:
        page.send_response(200)
        page.send_header("Transfer-Encoding", "chunked")
        page.send_header("Connection", "close")
        page.end_headers()
        for piece in [*pieces, *([b""] if whole else [])]:
            page.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    return page


def test_a_response_of_unknown_length(web: WebServer, tmp_path: Path) -> None:
    pieces = [DATA[start : start + 70_000] for start in range(0, len(DATA), 70_000)]
    url = web.script("/f", chunked(pieces[:5], whole=False), chunked(pieces, whole=True))
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == DATA and web.log[1].range == "bytes=350000-"


def test_a_stalled_response_is_abandoned(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "TIMEOUT_S", (60.0, 2.0))
    downloaded = threading.Event()

    def stall(page: Any) -> None:
        page.answer(200, DATA[:250_000], length=len(DATA))
        page.wfile.flush()
        downloaded.wait(120)

    url = web.script("/f", stall, lambda page: page.file(DATA))
    download_files(downloads(url), tmp_path)
    downloaded.set()
    assert (tmp_path / "f").read_bytes() == DATA and web.log[1].range == "bytes=250000-"


def test_a_content_length_that_is_too_long_does_not_hide_a_complete_file(web: WebServer, tmp_path: Path) -> None:
    url = web.script("/f", lambda page: page.answer(200, DATA, length=len(DATA) + 1000))
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == DATA and len(web.log) == 1


@pytest.mark.parametrize("sent", [DATA[:-1] + b"!", DATA[:500_000], DATA + b"more", b""])
def test_wrong_bytes_are_refused(web: WebServer, tmp_path: Path, sent: bytes) -> None:
    url = web.script("/f", lambda page: page.answer(200, sent))
    with pytest.raises(DataError) as error:
        download_files(downloads(url), tmp_path)
    for expected in (url, SHA, hashlib.sha256(sent).hexdigest()):
        assert expected in str(error.value)
    assert list(tmp_path.iterdir()) == [] and len(web.log) == 1


def test_a_content_length_that_is_too_short_is_a_wrong_hash(web: WebServer, tmp_path: Path) -> None:
    url = web.script("/f", lambda page: page.answer(200, DATA, length=1000))
    with pytest.raises(DataError, match=hashlib.sha256(DATA[:1000]).hexdigest()):
        download_files(downloads(url), tmp_path)


def test_a_refusal_is_final(web: WebServer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/none: status 404 Not Found; check the URL"):
        download_files(downloads(web.url + "/none"), tmp_path)
    assert len(web.log) == 1


def test_busy_servers_are_retried_after_the_requested_wait(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("palimpsest.raw.http_client.time.sleep", waits.append)
    busy = [
        lambda page: page.answer(503, b"busy"),
        lambda page: page.answer(429, b"slow down", Retry_After="3"),
        lambda page: page.answer(503, b"busy", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        lambda page: page.answer(429, b"slow down", Retry_After="999999"),
    ]
    url = web.script("/f", *busy, lambda page: page.file(DATA))
    download_files(downloads(url), tmp_path)
    assert waits == [0.005, 3.0, 0.02, http_client.LONGEST_RETRY_AFTER_S]


@pytest.mark.parametrize("etag", [True, False])
def test_a_file_that_changes_between_attempts(web: WebServer, tmp_path: Path, etag: bool) -> None:
    old, new = random.Random(2).randbytes(len(DATA)), DATA
    url = web.script(
        "/f",
        lambda page: page.file(old, cut=400_000, etag='"old"' if etag else None),
        lambda page: page.file(new, etag='"new"' if etag else None),
    )
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == new
    assert len(web.log) == (2 if etag else 3)


def test_an_etag_that_changes_on_a_server_that_ignores_if_range(web: WebServer, tmp_path: Path) -> None:
    """It responds to If-Range with a range of the new file."""
    old = random.Random(2).randbytes(len(DATA))

    def deaf(page: Any) -> None:
        page.current.headers.pop("if-range", None)
        page.file(DATA, etag='"new"')

    url = web.script("/f", lambda page: page.file(old, cut=400_000, etag='"old"'), deaf)
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize("left", [DATA + b"more", DATA[:1000] + b"x" * (len(DATA) - 1000), DATA[:7]])
def test_leftovers_of_an_earlier_run(web: WebServer, tmp_path: Path, left: bytes) -> None:
    (tmp_path / ".f.part").write_bytes(left)
    url = web.script("/f", lambda page: page.file(DATA))
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == DATA
    assert web.log[0].range == f"bytes={len(left)}-"


def test_a_range_that_was_not_requested_is_refused(web: WebServer, tmp_path: Path) -> None:
    wrong = f"bytes 5-{len(DATA) - 1}/{len(DATA)}"
    url = web.script(
        "/f", lambda page: page.file(DATA, cut=9), lambda page: page.answer(206, DATA[5:], Content_Range=wrong),
        lambda page: page.file(DATA),
    )  # fmt: skip
    download_files(downloads(url), tmp_path)
    assert (tmp_path / "f").read_bytes() == DATA


def test_bytes_are_stored_as_sent(web: WebServer, tmp_path: Path) -> None:
    packed = gzip.compress(DATA[:1000])
    url = web.script("/f.gz", lambda page: page.answer(200, packed, Content_Encoding="gzip"))
    download_files(downloads(url, hashlib.sha256(packed).hexdigest()), tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == packed and web.log[0].headers["accept-encoding"] == "identity"


def test_redirects(web: WebServer, tmp_path: Path) -> None:
    web.script("/real", lambda page: page.file(DATA))
    url = web.script("/moved.txt", lambda page: page.answer(302, b"", Location="/real"))
    assert download_files(downloads(url), tmp_path)[0].name == "moved.txt"
    loop = web.script("/loop", lambda page: page.answer(302, b"", Location="/loop"))
    with pytest.raises(DataError, match=r"redirects"):
        download_files(downloads(loop), tmp_path)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:text/plain,x"])
def test_redirects_to_other_schemes_are_not_followed(web: WebServer, tmp_path: Path, target: str) -> None:
    url = web.script("/f", lambda page: page.answer(302, b"", Location=target))
    with pytest.raises(DataError, match=rf"redirects from http to {target.partition(':')[0]}"):
        download_files(downloads(url), tmp_path)
    assert not (tmp_path / "f").exists()


def redirected(start: str, target: str) -> str | None:
    response = requests.Response()
    response.url, response.status_code, response.headers["Location"] = start, 302, target
    return http_client.Session().get_redirect_target(response)


def test_https_is_never_downgraded() -> None:
    assert redirected("http://a/x", "https://a/x") == "https://a/x"
    assert redirected("https://a/x", "https://b/x") == "https://b/x"
    with pytest.raises(DataError, match="from https to http"):
        redirected("https://a/x", "http://a/x")


@pytest.mark.parametrize(
    "last", ["", "..", "%2e%2e", "..%2Fup", "a%2Fb", "a%5Cb", ".hidden", "a%00b", "a%0Ab", "x" * 300, "%E2%80%AEexe"]
)
def test_unusable_file_names_are_refused(web: WebServer, tmp_path: Path, last: str) -> None:
    with pytest.raises(DataError, match="name"):
        download_files(downloads(f"{web.url}/folder/{last}"), tmp_path / "files")
    assert web.log == []
    assert not (tmp_path / "files").exists()


def test_duplicate_file_names_are_refused(web: WebServer, tmp_path: Path) -> None:
    urls = [*downloads(f"{web.url}/a/f.txt"), *downloads(f"{web.url}/b/f.txt")]
    with pytest.raises(DataError, match=r"/b/f\.txt: .*/a/f\.txt is called 'f\.txt' too"):
        download_files(urls, tmp_path)


PROCESS = """
import sys
from pathlib import Path
from palimpsest.raw.download import download_files
from palimpsest.settings.sources import Download
download_files([Download(url=sys.argv[1], sha256=sys.argv[2])], Path(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_download_requests_only_the_rest(web: WebServer, tmp_path: Path, seed: int) -> None:
    data = random.Random(seed).randbytes(8_000_000)
    sha = hashlib.sha256(data).hexdigest()
    kill_at = random.Random(seed).randrange(1_000_000, 6_000_000)
    killed = threading.Event()

    def until_killed(page: Any) -> None:
        page.answer(200, data[: kill_at + 1_000_000], length=len(data), ETag='"same"')
        killed.wait(120)

    url = web.script("/f", until_killed, lambda page: page.file(data, etag='"same"'))
    command = [sys.executable, "-c", PROCESS, url, sha, str(tmp_path)]
    with subprocess.Popen(command) as process:
        part = tmp_path / ".f.part"
        while not part.exists() or part.stat().st_size < kill_at:
            assert process.poll() is None
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    killed.set()
    assert not (tmp_path / "f").exists()
    here = part.stat().st_size
    assert subprocess.run(command, check=False).returncode == 0
    assert (tmp_path / "f").read_bytes() == data
    assert web.log[1].range == f"bytes={here}-" and web.log[1].headers["if-range"] == '"same"'
    assert web.log[1].sent == len(data) - here
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
