"""A real HTTP server on this machine whose pages misbehave as a test says, and which records its requests."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    """A request, and how many bytes of body were sent for it."""

    path: str
    headers: dict[str, str]
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: "WebServer"

    def do_GET(self) -> None:
        self.current = Request(self.path, {key.lower(): value for key, value in self.headers.items()})
        self.server_state.log.append(self.current)
        page = self.server_state.pages.get(self.path.partition("?")[0])
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
            self.current.sent += len(data)  # before the client can see all of it
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def file(self, data: bytes, cut: int | None = None, etag: str | None = None, **headers: str) -> None:
        """Like a good server: ranges, If-Range. ``cut``: the connection ends after so many bytes of body."""
        extra = headers | ({"ETag": etag} if etag else {})
        start, end, status = 0, len(data), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.current.range or "")
        if wanted and self.current.headers.get("if-range", etag) == etag:
            start, end = int(wanted[1]), min(len(data), int(wanted[2]) + 1 if wanted[2] else len(data))
            if start >= len(data):
                return self.answer(416, b"", Content_Range=f"bytes */{len(data)}")
            status, extra["Content_Range"] = 206, f"bytes {start}-{end - 1}/{len(data)}"
        body = data[start:end]
        return self.answer(status, body if cut is None else body[:cut], length=len(body), **extra)

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class WebServer:
    """``pages`` by path; ``log`` in the order of requests."""

    url: str
    pages: dict[str, Callable[[Handler], None]] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)

    def script(self, path: str, *answers: Callable[[Handler], None]) -> str:
        """One answer after another, the last one again and again; returns the page's address."""
        left = list(answers)
        self.pages[path] = lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)
        return self.url + path


@contextmanager
def serve() -> Iterator[WebServer]:
    """A server without pages, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {}))
    server.daemon_threads = True
    found = WebServer(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass.server_state = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
