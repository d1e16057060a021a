"""Manifests of finished folders, files that appear whole or not at all, and fingerprints."""

import functools
import json
import operator
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palimpsest.artifact import atomic_file, fingerprint, read_manifest, write_json, write_manifest
from palimpsest.errors import ArtifactError


def folder(path, text="hello"):
    path.mkdir(parents=True)
    (path / "a.txt").write_text(text)
    return write_manifest(path, stage="raw", params={"b": 1, "a": [2]}, inputs={}, files=[path / "a.txt"], counts={})


def test_equal_work_gives_equal_bytes_in_any_folder(tmp_path):
    one, other = folder(tmp_path / "x"), folder(tmp_path / "deep" / "y")
    assert one.digest == other.digest
    assert (tmp_path / "x" / "manifest.json").read_bytes() == (tmp_path / "deep" / "y" / "manifest.json").read_bytes()
    assert folder(tmp_path / "z", "hallo").digest != one.digest


def test_a_folder_without_a_whole_manifest_does_not_exist(tmp_path):
    with pytest.raises(ArtifactError, match=r"manifest\.json: no such file"):
        read_manifest(tmp_path, "raw")
    folder(tmp_path / "x")
    with pytest.raises(ArtifactError, match=r"format is 'palimpsest\.raw/1', expected 'palimpsest\.tokens/1'"):
        read_manifest(tmp_path / "x", "tokens")
    (tmp_path / "x" / "a.txt").write_text("other length")
    with pytest.raises(ArtifactError, match="not the 5 bytes"):
        read_manifest(tmp_path / "x", "raw")
    (tmp_path / "x" / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_manifest(tmp_path / "x", "raw")


JUNK: tuple[Any, ...] = (None, True, 1, "x", [])
KEYS = ((), ("format",), ("params",), ("inputs",), ("files",), ("counts",), ("files", "a.txt"), ("files", "no.txt"))
ENTRIES: tuple[dict[str, Any], ...] = ({}, {"bytes": 5}, {"bytes": True, "xxh3_128": "x"}, {"bytes": 5, "xxh3_128": 5})


@pytest.mark.parametrize(
    ("key", "junk"),
    [*((key, junk) for key in KEYS for junk in JUNK), *((("files", "a.txt"), entry) for entry in ENTRIES)],
)
def test_a_malformed_manifest_is_named(tmp_path: Path, key: tuple[str, ...], junk: Any) -> None:
    folder(tmp_path / "x")
    path = tmp_path / "x" / "manifest.json"
    document: Any = {"whole": json.loads(path.read_bytes())}
    *above, last = ("whole", *key)
    functools.reduce(operator.getitem, above, document)[last] = junk
    path.write_text(json.dumps(document["whole"]))
    with pytest.raises(ArtifactError, match=r"x/manifest\.json: .*run its stage again"):
        read_manifest(tmp_path / "x", "raw")


def test_an_atomic_file_keeps_the_old_contents_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from palimpsest.artifact import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_nan_is_refused_rather_than_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint(json.loads('{"b": [1, 2], "a": 1}'))
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
