"""``model.hub`` against an HTTP server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from palimpsest.errors import TrainingError
from palimpsest.specs.training import HubModel, InitSpec
from palimpsest.train.init_model import init_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIZES = {
    "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 304,
}  # fmt: skip
WANTED = {
    "config.json", "generation_config.json", "tokenizer.json", "model.safetensors.index.json",
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
}  # fmt: skip


class Hub(ThreadingHTTPServer):
    """``some/model`` with more beside it than is wanted, ``some/pickled`` with pickles alone, ``some/gated``."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.requested: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def names(self, repository: str) -> list[str]:
        """The files of a repository."""
        pickled = repository == "some/pickled"
        return [name for name in self.files if not pickled or "safetensors" not in name]


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        assert isinstance(self.server, Hub)
        return self.server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requested.append(path)
        status, body, headers = self._found(path)
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _found(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        if "some/gated" in path:
            return 401, b"", {"X-Error-Code": "GatedRepo"}
        repository = "some/pickled" if "some/pickled" in path else "some/model"
        if path == f"/api/models/{repository}/tree/{COMMIT}":
            listed = [
                {"type": "file", "path": name, "size": len(self.hub.files[name]), "oid": "0" * 40}
                for name in self.hub.names(repository)
            ]
            return 200, json.dumps(listed).encode(), {"Content-Type": "application/json"}
        name = path.removeprefix(f"/{repository}/resolve/{COMMIT}/")
        if name == path or name not in self.hub.files:
            return 404, b"", {"X-Error-Code": "RevisionNotFound" if COMMIT not in path else "EntryNotFound"}
        body = self.hub.files[name]
        return 200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'}

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def elsewhere(tmp_path: Path, tokenizer: Path) -> Path:
    """The model's folder in two shards, with what must not be downloaded beside it."""
    torch.manual_seed(0)
    folder = tmp_path / "elsewhere"
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(folder, max_shard_size="70KB")
    assert len(list(folder.glob("model-*.safetensors"))) == 2
    (folder / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    for name in ("pytorch_model.bin", "consolidated.safetensors", "modeling_own.py", "README.md"):
        (folder / name).write_bytes(b"not wanted")
    return folder


@pytest.fixture
def hub(elsewhere: Path) -> Iterator[Hub]:
    with Hub({path.name: path.read_bytes() for path in elsewhere.iterdir()}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


Build = Callable[..., str | None]


@pytest.fixture
def build(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """``build(endpoint, name, …)``: the message, if it is refused. The library reads its addresses at import."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def run(
        endpoint: str, name: str, revision: str = COMMIT, context: int = 16, out: Path = tmp_path / "out"
    ) -> str | None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        spec = InitSpec(
            model=HubModel(hub=name, revision=revision), context_length=context, seed=0, data_fingerprint=""
        )
        try:
            init_model(spec, tokenizer, out)
        except TrainingError as error:
            return str(error)
        return None

    return run


def test_the_commits_safetensors_are_downloaded_and_nothing_else_and_once(
    hub: Hub, build: Build, elsewhere: Path, tmp_path: Path
) -> None:
    out, again = tmp_path / "init", tmp_path / "again"
    assert build(hub.endpoint, "some/model", out=out) is None
    fetched = {path.removeprefix(f"/some/model/resolve/{COMMIT}/") for path in hub.requested if "/resolve/" in path}
    assert fetched == WANTED
    given: dict[str, torch.Tensor] = {}
    for shard in elsewhere.glob("model-*.safetensors"):
        given |= load_file(shard)
    taken = load_file(out / "model.safetensors")
    assert given.keys() == taken.keys() and all(torch.equal(given[name], taken[name]) for name in given)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["params"]["model"] == {"kind": "hub", "hub": "some/model", "revision": COMMIT}
    assert str(tmp_path) not in (out / "manifest.json").read_text() + (out / "config.json").read_text()
    before = len(hub.requested)
    assert build("http://127.0.0.1:9", "some/model", out=again) is None  # from the cache, without a network
    assert len(hub.requested) == before
    for path in out.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_what_goes_wrong_is_one_message(hub: Hub, build: Build, tmp_path: Path) -> None:
    def fails(name: str, message: str, revision: str = COMMIT) -> None:
        error = build(hub.endpoint, name, revision)
        assert error and error.startswith(f"model.hub {name} at {revision}: {message}")

    fails(
        "some/gated", "access is gated; accept its conditions on the hub, and set HF_TOKEN to a token of that account"
    )
    fails("some/model", "the model has no such commit; check model.revision", revision="f" * 40)
    fails("some/pickled", "has no *.safetensors; save the model")
    fails("not a name", "cannot be downloaded (HFValidationError")
    assert not (tmp_path / "out").exists()
    assert "takes 64 tokens, but train.context_length is 128" in str(build(hub.endpoint, "some/model", context=128))


def test_a_model_with_other_tokens_is_refused(hub: Hub, build: Build) -> None:
    words = json.loads(hub.files["tokenizer.json"])
    words["model"]["vocab"]["other"] = words["model"]["vocab"].pop("w7")
    hub.files["tokenizer.json"] = json.dumps(words).encode()
    error = str(build(hub.endpoint, "some/model"))
    assert "which made the shards: vocab differ; set tokenizer.hub and .revision as model's" in error


def test_a_model_without_a_tokenizer_is_refused(hub: Hub, build: Build) -> None:
    del hub.files["tokenizer.json"]
    assert "has no tokenizer.json; save the model with its tokenizer" in str(build(hub.endpoint, "some/model"))


def test_no_network_is_one_message_too(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to stay offline, the library gives up at once; with a network that does not answer it tries for long."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = str(build("http://127.0.0.1:9", "some/model"))
    assert error.startswith(f"model.hub some/model at {COMMIT}: not in the cache, and the hub gave no answer")
    assert "HF_TOKEN" in error and "model.path" in error
