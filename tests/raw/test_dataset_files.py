"""Datasets on an imitation of the hub: listings, ranges, tokens, and how requests fail."""

import io
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from support.dataset_hub import DatasetHub
from support.raw_specs import raw_spec
from support.web_server import WebServer

from palimpsest import hub
from palimpsest.artifact import Manifest, read_manifest
from palimpsest.errors import DataError
from palimpsest.raw import dataset_files, http_client
from palimpsest.raw.build_raw import build_raw
from palimpsest.settings.sources import HfSource

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "owner/name"
ROWS = [{"id": f"doc-{n}", "text": random.Random(n).randbytes(400).hex(), "noise": "x" * 4000} for n in range(900)]
pytestmark = pytest.mark.usefixtures("impatient")


def parquet(rows: list[dict[str, str]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=100, compression="none", use_dictionary=False)
    return out.getvalue()


FILES = {
    "README.md": b"---\nlicense: odc-by\n---\n# A set\n",
    "data/fra_Latn/train/000_00001.parquet": parquet(ROWS[500:]),
    "data/fra_Latn/train/000_00000.parquet": parquet(ROWS[:500]),
    "data/fra_Latn/test/000_00000.parquet": parquet([{"id": "test", "text": "a test"}]),
    "data/deu_Latn/train/000_00000.parquet": parquet([{"id": "german", "text": "ein Text"}]),
    "lines/a b.jsonl.zst": zstandard.compress(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)),
}


@pytest.fixture
def server(hub_server: DatasetHub, monkeypatch: pytest.MonkeyPatch) -> DatasetHub:
    hub_server.files |= FILES
    monkeypatch.setattr(dataset_files, "BLOCK_BYTES", 1 << 15)
    return hub_server


def source(**settings: Any) -> HfSource:
    values = {"dataset": NAME, "revision": COMMIT, "files": "data/fra_Latn/train/*.parquet"} | settings
    return HfSource(kind="hf", name="web", **values)


def make(tmp_path: Path, **settings: Any) -> Manifest:
    return build_raw(raw_spec(source(**settings), language="fr"), tmp_path / "out", tmp_path / "cache")


def documents(built: Manifest) -> list[dict[str, str]]:
    packed = b"".join(
        zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read() for path in built.paths("web/part-")
    )
    return [json.loads(line) for line in packed.splitlines()]


EXPECTED = [{"id": row["id"], "text": row["text"]} for row in ROWS]


def test_reading_downloads_only_the_text_and_id_columns(server: DatasetHub, tmp_path: Path) -> None:
    built = make(tmp_path)
    assert documents(built) == EXPECTED
    record = built.counts["sources"]["web"]
    assert {key: record[key] for key in ("licence", "dataset", "revision", "files", "documents")} == {
        "licence": "odc-by", "dataset": NAME, "revision": COMMIT, "files": 2, "documents": 900,
    }  # fmt: skip
    assert server.web.url.encode() not in (built.folder / "manifest.json").read_bytes()
    # Of 4.4 MB, the columns that are not requested are mostly not downloaded.
    assert sum(request.sent for request in server.web.log if request.path.startswith("/cdn/")) < 2_000_000
    requests = len(server.web.log)
    assert make(tmp_path).digest == built.digest and len(server.web.log) == requests


@pytest.mark.usefixtures("server")
def test_lines_and_a_name_with_a_space(tmp_path: Path) -> None:
    assert documents(make(tmp_path, files="lines/*.zst")) == EXPECTED


@pytest.mark.parametrize("page", [1, 3, 100])
def test_the_listing_has_all_files_whatever_the_size_of_its_pages(server: DatasetHub, page: int) -> None:
    server.page = page
    sizes = {file.name: file.bytes for file in dataset_files.dataset_files(source()).list("**")}
    assert sizes == {name: len(data) for name, data in FILES.items()}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.parquet", [name for name in sorted(FILES) if name.endswith(".parquet")]),
        ("data/*/train/*.parquet", ["data/deu_Latn/train/000_00000.parquet", "data/fra_Latn/train/000_00000.parquet",
                                    "data/fra_Latn/train/000_00001.parquet"]),
        ("data/fra_Latn/train/000_0000[1-9].parquet", ["data/fra_Latn/train/000_00001.parquet"]),
        ("data/fra_Latn/test/000_00000.parquet", ["data/fra_Latn/test/000_00000.parquet"]),
        ("*", ["README.md"]),
    ],
)  # fmt: skip
def test_globs_mean_what_they_mean_in_a_folder(
    server: DatasetHub, tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    server.files |= {".gitattributes": b"", "data/.hidden/train/x.parquet": b""}
    for name, data in server.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    hub, folder = (dataset_files.dataset_files(each) for each in (source(), source(dataset="", folder=str(tmp_path))))
    assert [file.name for file in hub.list(pattern)] == expected
    assert hub.list(pattern) == folder.list(pattern)


def test_only_the_fixed_folder_of_the_glob_is_listed(server: DatasetHub) -> None:
    dataset_files.dataset_files(source()).list("data/fra_Latn/train/*.parquet")
    paths = [unquote(request.path) for request in server.web.log]
    assert paths and all(path.startswith(f"/api/datasets/{NAME}/tree/{COMMIT}/data/fra_Latn/train") for path in paths)


def busy(page: Any) -> None:
    page.answer(503, b"busy")


def cut(page: Any) -> None:
    page.answer(200, b"[", length=100)


def another_file(page: Any) -> None:
    start, end = map(int, page.current.range.removeprefix("bytes=").split("-"))
    page.answer(206, b"x" * (end + 1 - start), Content_Range=f"bytes {start}-{end}/99999")


def test_transient_faults_are_retried(server: DatasetHub, tmp_path: Path) -> None:
    first = "/cdn/data/fra_Latn/train/000_00000.parquet"
    server.faults = {
        f"/api/datasets/{NAME}/tree/{COMMIT}/data/fra_Latn/train": [
            busy,
            cut,
            lambda page: page.answer(200, b"no JSON"),
        ],
        f"/datasets/{NAME}/resolve/{COMMIT}/data/fra_Latn/train/000_00000.parquet": [busy, None, busy],
        f"/datasets/{NAME}/resolve/{COMMIT}/README.md": [cut],
        first: [
            lambda page: page.file(FILES[first[5:]], cut=1000),
            lambda page: page.answer(206, b"x", Content_Range=f"bytes 0-0/{len(FILES[first[5:]])}"),
        ],
        "/cdn/data/fra_Latn/train/000_00001.parquet": [another_file] * (http_client.ATTEMPTS - 1),
    }
    assert documents(make(tmp_path)) == EXPECTED
    assert not any(server.faults.values())


def test_an_unreachable_hub_is_one_error_and_the_next_run_resumes(server: DatasetHub, tmp_path: Path) -> None:
    second = "/cdn/data/fra_Latn/train/000_00001.parquet"
    server.faults = {second: [busy] * http_client.ATTEMPTS}
    with pytest.raises(DataError) as error:
        make(tmp_path)
    for expected in (f"{NAME}@{COMMIT[:12]}", "train/000_00001.parquet", "503", "Check the network", "run again"):
        assert expected in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()
    del server.web.log[:]
    assert documents(make(tmp_path)) == EXPECTED
    assert not any("000_00000" in request.path for request in server.web.log)


@pytest.mark.usefixtures("server")
def test_an_address_without_a_server_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=rf"{NAME}@.*the list of files: .*refused.*gave up after"):
        make(tmp_path)


def test_a_gated_dataset(server: DatasetHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = "secret"
    with pytest.raises(DataError, match=rf"HF_TOKEN is not set.*ask for access on {server.web.url}/datasets/{NAME}"):
        make(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(DataError, match="HF_TOKEN was refused"):
        make(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "secret")
    built = make(tmp_path)
    assert documents(built) == EXPECTED
    assert not any(b"secret" in path.read_bytes() for path in built.folder.rglob("*") if path.is_file())


def test_the_token_stays_with_the_hub(
    server: DatasetHub, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and the next page of a listing are on another host, whose requests have no token."""
    server.token, server.token_host, server.page = "secret", "localhost", 1
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HF_ENDPOINT", web.url.replace("127.0.0.1", "localhost"))
    assert documents(make(tmp_path)) == EXPECTED
    hosts = {request.headers["host"].partition(":")[0] for request in web.log if "authorization" in request.headers}
    assert hosts == {"localhost"}
    elsewhere = [request.path for request in web.log if request.headers["host"].startswith("127.0.0.1")]
    assert any("cursor=" in path for path in elsewhere) and any(path.startswith("/cdn/") for path in elsewhere)


@pytest.mark.usefixtures("server")
def test_no_token_of_an_earlier_login_is_sent(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("hf_left_by_a_login")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert documents(make(tmp_path)) == EXPECTED
    assert not any("authorization" in request.headers for request in web.log)


def test_https_is_never_downgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    with pytest.raises(DataError, match=r"http://mirror\.example/x: the hub redirects from https to http"):
        hub._protect(httpx2.Request("GET", "http://mirror.example/x"))


@pytest.mark.usefixtures("server")
def test_offline_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=rf"{NAME}@.*offline mode is enabled"):
        make(tmp_path)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dataset": "owner/other"}, r"owner/other@.*not open to you .*check its name"),
        ({"revision": "f" * 40}, rf"has no revision {'f' * 40}; see .*/commits/main"),
        ({"files": "data/ita_Latn/*.parquet"}, r"no such file at this revision"),
        ({"files": "data/fra_Latn/*.parquet"}, r"files: 'data/fra_Latn/\*\.parquet' matches no file"),
        ({"text": "body"}, r"000_00000\.parquet: no column 'body' .* it has id, text, noise"),
    ],
)
def test_missing_datasets_revisions_files_and_columns(tmp_path: Path, given: dict[str, str], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        make(tmp_path, **given)


def test_a_server_that_sends_no_ranges(server: DatasetHub, tmp_path: Path) -> None:
    name = "data/fra_Latn/train/000_00000.parquet"
    server.faults = {f"/cdn/{name}": [lambda page: page.answer(200, FILES[name])]}
    with pytest.raises(DataError, match="does not support range requests"):
        make(tmp_path)


def test_without_a_card_there_is_no_licence(server: DatasetHub, tmp_path: Path) -> None:
    del server.files["README.md"]
    make(tmp_path)
    assert read_manifest(tmp_path / "out", "raw").counts["sources"]["web"]["licence"] is None
