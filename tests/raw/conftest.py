"""A real HTTP server on this machine whose pages misbehave as a test asks, and which remembers what it was asked."""

import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from palimpsest.raw import http_client


@dataclass
class Asked:
    """A request, and how many bytes of body were sent for it."""

    path: str
    headers: dict[str, str]
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: "Web"

    def do_GET(self) -> None:
        self.asked = Asked(self.path, {key.lower(): value for key, value in self.headers.items()})
        self.web.log.append(self.asked)
        page = self.web.pages.get(self.path.partition("?")[0])
        if page:
            page(self)
        else:
            self.answer(404, b"no such page")
        self.close_connection = True

    def answer(self, status: int, data: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.send(data)

    def send(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
            self.asked.sent += len(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def file(self, data: bytes, cut: int | None = None, etag: str | None = None, **headers: str) -> None:
        """Like a good server: ranges, If-Range. ``cut``: the connection ends after so many bytes of body."""
        extra = headers | ({"ETag": etag} if etag else {})
        start, end, status = 0, len(data), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.asked.range or "")
        if asked and self.asked.headers.get("if-range", etag) == etag:
            start, end = int(asked[1]), min(len(data), int(asked[2]) + 1 if asked[2] else len(data))
            if start >= len(data):
                return self.answer(416, b"", Content_Range=f"bytes */{len(data)}")
            status, extra["Content_Range"] = 206, f"bytes {start}-{end - 1}/{len(data)}"
        body = data[start:end]
        return self.answer(status, body if cut is None else body[:cut], length=len(body), **extra)

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Web:
    """``pages`` by path; ``log`` in the order of requests."""

    url: str
    pages: dict[str, Callable[[Handler], None]] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)

    def script(self, path: str, *answers: Callable[[Handler], None]) -> str:
        """One answer after another, the last one again and again; returns the page's address."""
        left = list(answers)
        self.pages[path] = lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)
        return self.url + path


@pytest.fixture
def web() -> Iterator[Web]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {}))
    server.daemon_threads = True
    found = Web(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass.web = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits and timeouts of a test."""
    monkeypatch.setattr(http_client, "FIRST_WAIT_S", 0.005)
    monkeypatch.setattr(http_client, "LONGEST_WAIT_S", 0.02)
    monkeypatch.setattr(http_client, "TIMEOUT_S", (2.0, 0.4))


@dataclass
class Hub:
    """``faults``: what happens before an answer to a path, one after another; ``page``: entries of a listing page."""

    web: Any
    files: dict[str, bytes]
    page: int = 2
    faults: dict[str, list[Any]] = field(default_factory=dict)
    token: str | None = None
    name: str = "owner/name"
    commit: str = "0123456789abcdef0123456789abcdef01234567"

    def answer(self, page: Any, path: str) -> None:
        faults = self.faults.get(path, [])
        if faults and (fault := faults.pop(0)):
            fault(page)
        elif self.token and page.asked.headers.get("authorization") != f"Bearer {self.token}":
            page.answer(401, b"", X_Error_Code="GatedRepo")
        elif path.startswith(f"/api/datasets/{self.name}/tree/{self.commit}"):
            self._tree(page, path.removeprefix(f"/api/datasets/{self.name}/tree/{self.commit}").strip("/"))
        elif path.startswith(f"/datasets/{self.name}/resolve/{self.commit}/"):
            self._resolve(page, path.removeprefix(f"/datasets/{self.name}/resolve/{self.commit}/"))
        else:
            code = "RevisionNotFound" if f"datasets/{self.name}/" in path else "RepoNotFound"
            page.answer(404 if code == "RevisionNotFound" else 401, b"", X_Error_Code=code)

    def _tree(self, page: Any, folder: str) -> None:
        names = sorted(name for name in self.files if name.startswith(f"{folder}/" if folder else ""))
        if not names:
            return page.answer(404, b"", X_Error_Code="EntryNotFound")
        folders = sorted({name.rpartition("/")[0] for name in names} - {"", folder})
        entries: list[dict[str, Any]] = [{"type": "directory", "path": name, "oid": "0", "size": 0} for name in folders]
        entries += [{"type": "file", "path": name, "oid": "0", "size": len(self.files[name])} for name in names]
        query = urllib.parse.parse_qs(page.path.partition("?")[2])
        start = int(query.get("cursor", ["0"])[0])
        more = {}
        if start + self.page < len(entries):
            rest = urllib.parse.urlencode({"recursive": "true", "cursor": start + self.page})
            more["Link"] = f'<{self.web.url}{page.path.partition("?")[0]}?{rest}>; rel="next"'
        return page.answer(200, json.dumps(entries[start : start + self.page]).encode(), **more)

    def _resolve(self, page: Any, name: str) -> None:
        if name not in self.files:
            return page.answer(404, b"", X_Error_Code="EntryNotFound")
        if name == "README.md":
            return page.answer(200, self.files[name])
        return page.answer(302, b"", Location=f"{self.web.url}/cdn/{urllib.parse.quote(name)}?signed=yes")


class Pages(dict[str, Any]):
    """Every path is the hub's, but those of its store."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.hub = hub

    def get(self, path: str, _: Any = None) -> Any:
        path = urllib.parse.unquote(path)
        faults = self.hub.faults.get(path, [])
        if path.startswith("/cdn/") and not faults:
            return lambda page: page.file(self.hub.files[path.removeprefix("/cdn/")])
        return lambda page: (
            (faults.pop(0) or self.get(path))(page) if path.startswith("/cdn/") else self.hub.answer(page, path)
        )


@pytest.fixture
def hub_server(web: Web, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """An imitation of the Hugging Face hub, without files yet, to which the environment points."""
    found = Hub(web, {})
    web.pages = Pages(found)
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    for name in ("b.jsonl", "a/c.jsonl", "a/deep/er/d.jsonl", "a/notes.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f'{{"text": "{name}"}}\n')
    return root
