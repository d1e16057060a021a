"""``model.hub`` against an HTTP server on this machine that answers as the hub does."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from palimpsest.errors import TrainingError
from palimpsest.train import init_model

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

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.asked = []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def names(self, repository):
        pickled = repository == "some/pickled"
        return [name for name in self.files if not pickled or "safetensors" not in name]


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        path = urlsplit(self.path).path
        self.server.asked.append(path)
        status, body, headers = self._found(path)
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _found(self, path):
        if "some/gated" in path:
            return 401, b"", {"X-Error-Code": "GatedRepo"}
        repository = "some/pickled" if "some/pickled" in path else "some/model"
        if path == f"/api/models/{repository}/tree/{COMMIT}":
            listed = [
                {"type": "file", "path": name, "size": len(self.server.files[name]), "oid": "0" * 40}
                for name in self.server.names(repository)
            ]
            return 200, json.dumps(listed).encode(), {"Content-Type": "application/json"}
        name = path.removeprefix(f"/{repository}/resolve/{COMMIT}/")
        if name == path or name not in self.server.files:
            return 404, b"", {"X-Error-Code": "RevisionNotFound" if COMMIT not in path else "EntryNotFound"}
        body = self.server.files[name]
        return 200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'}

    def log_message(self, *_): ...


@pytest.fixture
def elsewhere(tmp_path, tokenizer):
    """The model's folder in two shards, with what must not be taken beside it."""
    torch.manual_seed(0)
    folder = tmp_path / "elsewhere"
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(folder, max_shard_size="70KB")
    assert len(list(folder.glob("model-*.safetensors"))) == 2
    (folder / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    for name in ("pytorch_model.bin", "consolidated.safetensors", "modeling_own.py", "README.md"):
        (folder / name).write_bytes(b"not wanted")
    return folder


@pytest.fixture
def hub(elsewhere):
    with Hub({path.name: path.read_bytes() for path in elsewhere.iterdir()}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def build(tokenizer, tmp_path, monkeypatch):
    """``build(endpoint, name, …)``: the message, if it is refused. The library took its addresses at import."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def run(endpoint, name, revision=COMMIT, context=16, out=tmp_path / "out"):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        model = {"hub": name, "revision": revision, "tie_embeddings": False}
        try:
            init_model.build({"model": model, "context_length": context, "seed": 0}, tokenizer, out)
        except TrainingError as error:
            return str(error)
        return None

    return run


def test_the_commits_safetensors_are_taken_over_and_nothing_else_and_once(hub, build, elsewhere, tmp_path):
    out, again = tmp_path / "init", tmp_path / "again"
    assert build(hub.endpoint, "some/model", out=out) is None
    fetched = {path.removeprefix(f"/some/model/resolve/{COMMIT}/") for path in hub.asked if "/resolve/" in path}
    assert fetched == WANTED
    given = {}
    for shard in elsewhere.glob("model-*.safetensors"):
        given |= load_file(shard)
    taken = load_file(out / "model.safetensors")
    assert given.keys() == taken.keys() and all(torch.equal(given[name], taken[name]) for name in given)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["params"]["model"] == {"hub": "some/model", "revision": COMMIT, "tie_embeddings": False}
    assert str(tmp_path) not in (out / "manifest.json").read_text() + (out / "config.json").read_text()
    before = len(hub.asked)
    assert build("http://127.0.0.1:9", "some/model", out=again) is None  # from the cache, without a network
    assert len(hub.asked) == before
    for path in out.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_what_goes_wrong_is_one_message(hub, build, tmp_path):
    def said(name, what, **asked):
        assert build(hub.endpoint, name, **asked).startswith(
            f"model.hub {name} at {asked.get('revision', COMMIT)}: {what}"
        )

    said("some/gated", "access is gated; accept its conditions on the hub, and set HF_TOKEN to a token of that account")
    said("some/model", "the model has no such commit; check model.revision", revision="f" * 40)
    said("some/pickled", "has no *.safetensors; save the model")
    said("not a name", "cannot be downloaded (HFValidationError")
    assert not (tmp_path / "out").exists()
    assert "takes 64 tokens, but train.context_length is 128" in build(hub.endpoint, "some/model", context=128)


def test_a_model_with_other_tokens_is_refused(hub, build):
    words = json.loads(hub.files["tokenizer.json"])
    words["model"]["vocab"]["other"] = words["model"]["vocab"].pop("w7")
    hub.files["tokenizer.json"] = json.dumps(words).encode()
    said = build(hub.endpoint, "some/model")
    assert "of which the shards are: vocab differ; set tokenizer.hub and .revision as model's" in said


def test_a_model_without_a_tokenizer_is_refused(hub, build):
    del hub.files["tokenizer.json"]
    assert "has no tokenizer.json; save the model with its tokenizer" in build(hub.endpoint, "some/model")


def test_no_network_is_one_message_too(build, monkeypatch):
    """Told to stay offline, the library gives up at once; with a network that does not answer it tries for long."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = build("http://127.0.0.1:9", "some/model")
    assert said.startswith(f"model.hub some/model at {COMMIT}: not in the cache, and the hub gave no answer")
    assert "HF_TOKEN" in said and "model.path" in said
