"""The files of a local source: names, sizes and hashes, wherever the folder is."""

import os
from pathlib import Path

import pytest

from palimpsest.artifact import file_digest
from palimpsest.raw import local_files
from palimpsest.raw.local_files import digest_files, fixed_folder, list_files


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**/*.jsonl", ["a/c.jsonl", "a/deep/er/d.jsonl", "b.jsonl"]),
        ("**/**/*.jsonl", ["a/c.jsonl", "a/deep/er/d.jsonl", "b.jsonl"]),
        ("a/**", ["c.jsonl", "deep/er/d.jsonl", "notes.md"]),
        ("a/de*/**/*.jsonl", ["deep/er/d.jsonl"]),
        ("[ab].jsonl", ["b.jsonl"]),
        ("a/c.jsonl", ["c.jsonl"]),
    ],
)
def test_names_are_relative_to_the_fixed_part(files: Path, tmp_path: Path, pattern: str, names: list[str]) -> None:
    entries = list_files(str(files / pattern), tmp_path / "cache")
    assert [entry.name for entry in entries] == names
    root = fixed_folder(str(files / pattern))
    for entry in entries:
        path = root / entry.name
        assert (entry.bytes, entry.xxh3_128) == (path.stat().st_size, file_digest(path))


def test_a_changed_added_or_renamed_file_changes_the_digest(files: Path, tmp_path: Path) -> None:
    cache, pattern = tmp_path / "cache", str(files / "**" / "*.jsonl")
    seen = [digest_files(pattern, cache)]
    (files / "b.jsonl").write_text('{"text": "x.jsonl"}\n')  # of the same size
    seen.append(digest_files(pattern, cache))
    (files / "new.jsonl").write_text("{}\n")
    seen.append(digest_files(pattern, cache))
    (files / "new.jsonl").rename(files / "newer.jsonl")
    seen.append(digest_files(pattern, cache))
    (files / "newer.jsonl").unlink()
    (files / "b.jsonl").write_text('{"text": "b.jsonl"}\n')
    assert len(set(seen)) == 4
    assert digest_files(pattern, cache) == seen[0]


def test_the_digest_does_not_depend_on_the_folder_or_other_files(files: Path, tmp_path: Path) -> None:
    first = digest_files(str(files / "**" / "*.jsonl"), tmp_path / "cache")
    moved = files.rename(tmp_path / "moved")
    (moved / "other.md").write_text("not requested")
    assert digest_files(str(moved / "**" / "*.jsonl"), tmp_path / "cache") == first


def test_the_cache_saves_hashing_and_changes_no_result(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(local_files, "file_digest", counting)
    cache, pattern = tmp_path / "cache", str(files / "**" / "*.jsonl")
    first = list_files(pattern, cache)
    assert list_files(pattern, cache) == first
    assert sorted(hashed) == ["b.jsonl", "c.jsonl", "d.jsonl"]
    path, hashed[:] = files / "b.jsonl", []
    size, modified = path.stat().st_size, path.stat().st_mtime_ns
    path.write_bytes(b"!" * size)
    os.utime(path, ns=(modified, modified + 1))
    second = list_files(pattern, cache)
    assert hashed == ["b.jsonl"] and second != first
    path.write_bytes(b"!" * (size + 1))
    os.utime(path, ns=(modified, modified + 1))
    third = list_files(pattern, cache)
    assert hashed == ["b.jsonl", "b.jsonl"]
    cache.write_bytes(b"{half a ca")
    assert list_files(pattern, cache) == third
