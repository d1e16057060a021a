"""``tokenizer.hub`` against an HTTP server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.data_specs import tokenizer_spec

from palimpsest.artifact import read_manifest
from palimpsest.codec import encode
from palimpsest.tokens.build_tokenizer import build_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_this_test"


class Hub(ThreadingHTTPServer):
    """A hub with one small model, and others that fail as on the real hub. ``requests``: method, path and token."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        token = self.headers.get("Authorization")
        self.server.requests.append((self.command, self.path, token))
        body = b""
        self._status, headers = self._found(token)
        if self._status == 200:
            body = self.server.content
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
        self.send_response(self._status)
        for name, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _found(self, token: str | None) -> tuple[int, dict[str, str]]:
        owner_and_name, _, rest = self.path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if owner_and_name == "some/gated" and token is None:
            return 401, {"X-Error-Code": "GatedRepo"}
        if owner_and_name == "some/gated" and token != f"Bearer {TOKEN}":
            return 403, {"X-Error-Code": "GatedRepo"}
        if owner_and_name == "some/private":
            return 401, {"X-Error-Code": "RepoNotFound"}
        if owner_and_name == "some/broken":
            return 400, {}
        if revision != COMMIT:
            return 404, {"X-Error-Code": "RevisionNotFound"}
        if owner_and_name == "some/empty" or file != "tokenizer.json":
            return 404, {"X-Error-Code": "EntryNotFound"}
        return 200, {}

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub(trained: Path) -> Iterator[Hub]:
    with Hub((trained / "tokenizer.json").read_bytes()) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


PROGRAM = """
import json, sys
from pathlib import Path
from palimpsest import codec
from palimpsest.errors import DataError
from palimpsest.specs.data import TokenizerSpec
from palimpsest.tokens.build_tokenizer import build_tokenizer
assert "huggingface_hub" not in sys.modules
spec, corpora, out = json.loads(sys.argv[1])
spec = codec.decode(TokenizerSpec, spec, "spec")
try:
    build_tokenizer(spec, {name: Path(folder) for name, folder in corpora.items()}, Path(out))
except DataError as error:
    sys.exit(f"DataError: {error}")
"""


def ask(endpoint: str, cache: Path, program: str, argument: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in its own process, since huggingface_hub reads its environment at import."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache)}
    command = [sys.executable, "-c", program, json.dumps(argument)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture
def build(corpora: dict[str, Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the stage with a tokenizer from the hub."""

    def run(endpoint: str, repository: str) -> subprocess.CompletedProcess[str]:
        folders = {name: str(folder) for name, folder in corpora.items()}
        argument = [encode(tokenizer_spec(hub=repository, revision=COMMIT)), folders, str(tmp_path / "out")]
        return ask(endpoint, tmp_path / "cache", PROGRAM, argument)

    return run


def test_only_the_tokenizer_is_fetched_and_once(
    hub: Hub, build: Any, trained: Path, tmp_path: Path, corpora: dict[str, Path]
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "token").write_text("hf_left_by_a_login")
    result = build(hub.endpoint, "some/model")
    assert result.returncode == 0, result.stderr
    assert {path for _, path, _ in hub.requests} == {f"/some/model/resolve/{COMMIT}/tokenizer.json"}
    assert {token for _, _, token in hub.requests} == {None}  # a token comes from the environment alone
    out = tmp_path / "out"
    assert (out / "tokenizer.json").read_bytes() == hub.content
    manifest = read_manifest(out, "tokenizer")
    assert (manifest.params["tokenizer"]["hub"], manifest.params["tokenizer"]["revision"]) == ("some/model", COMMIT)
    # the same as from a file, except for its origin; no path of this machine
    build_tokenizer(tokenizer_spec(path=str(trained / "tokenizer.json")), corpora, tmp_path / "file")
    assert manifest.counts == read_manifest(tmp_path / "file", "tokenizer").counts
    assert "127.0.0.1" not in (out / "manifest.json").read_text() + (tmp_path / "file" / "manifest.json").read_text()
    before = len(hub.requests)
    assert build("http://127.0.0.1:9", "some/model").returncode == 0  # from the cache, without a network
    assert len(hub.requests) == before


FAILURES = [
    ("some/gated", COMMIT, "", "access is gated; accept its conditions"),
    ("some/gated", COMMIT, "hf_of_another", "access is gated; accept its conditions"),
    ("some/private", COMMIT, TOKEN, "no such model, or one that needs a token"),
    ("some/empty", COMMIT, "", "the model has no tokenizer.json; convert"),
    ("some/model", "f" * 40, "", "the model has no such commit; check tokenizer.revision"),
    ("some/broken", COMMIT, "", "not in the cache, and the hub gave no answer (Bad request"),
    ("not a name", COMMIT, "", "cannot be downloaded (HFValidationError"),
]

ASK = """
import json, os, sys
from palimpsest.errors import DataError
from palimpsest.tokens.build_tokenizer import download_tokenizer
for repository, revision, token, _ in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token
    try:
        print(download_tokenizer(repository, revision).read_bytes()[:1])
    except DataError as error:
        print(error)
"""


def test_gated_models_and_errors_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    """With the right token a gated model is downloaded; every failure is one message that says what to do."""
    cases = [*FAILURES, ("some/gated", COMMIT, TOKEN, "")]
    result = ask(hub.endpoint, tmp_path / "cache", ASK, cases)
    *messages, content = result.stdout.splitlines()
    assert content == repr(hub.content[:1]), result.stderr
    for (repository, revision, _, message), found in zip(FAILURES, messages, strict=True):
        assert found.startswith(f"tokenizer.hub {repository} at {revision}: {message}"), found
    assert TOKEN not in result.stdout + result.stderr and "hf_of_another" not in result.stdout + result.stderr


@pytest.mark.slow  # the library tries again for half a minute
def test_no_network_is_one_error(build: Any) -> None:
    result = build("http://127.0.0.1:9", "some/model")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "not in the cache, and the hub gave no answer" in result.stderr and "tokenizer.path" in result.stderr
