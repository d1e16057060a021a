"""Servers and files for the tests of the raw stage."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import huggingface_hub.utils._http
import pytest
from support.dataset_hub import DatasetHub, Pages
from support.web_server import WebServer, serve

from palimpsest.raw import http_client


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits between attempts, those of huggingface_hub included."""
    monkeypatch.setattr(http_client, "FIRST_WAIT_S", 0.005)
    monkeypatch.setattr(http_client, "LONGEST_WAIT_S", 0.02)
    monkeypatch.setattr(huggingface_hub.utils._http, "time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def hub_server(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> DatasetHub:
    """An empty hub to which the environment variables point."""
    hub = DatasetHub(web, {})
    web.pages = Pages(hub)
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # Read at import, so that an earlier test may have left it on.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return hub


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    for name in ("b.jsonl", "a/c.jsonl", "a/deep/er/d.jsonl", "a/notes.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f'{{"text": "{name}"}}\n')
    return root
