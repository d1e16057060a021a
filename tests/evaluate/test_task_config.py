"""Task files are read as the harness reads them, and each unusable one is refused with one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest.artifact import file_digest
from palimpsest.errors import ParamsError
from palimpsest.evaluate.task_config import read_task_config

JSON = "expected text, a number, true, false, null"
REFUSED = {
    "process_docs: !function process": "!function process: expected module.function",
    "process_docs: !function .process": "!function .process: expected module.function",
    "process_docs: !function [a.b]": "!function .*: expected module.function",
    "metadata: {version: 2024-05-01}": f"key metadata.version: found a date, {JSON}",
    "metadata: {chance: .nan}": "key metadata.chance: found a float",
    "a: [1, {b: !!binary aGk=}]": "key a.1.b: found a bytes",
    "a: {b: {1: x, c: y}}": "key a.b: found a dict",
    "a: &here [1, *here]": "key a: found a list",
    "when: 2024-13-01": "not a task file: month must be in 1..12",
    "include: mine.yaml": "key include: mine.yaml is included twice",
    "include: [one.yaml, one.yaml]": "key include: one.yaml is included twice",
    "include: 5": "key include: expected a file name or a list of them, found 5",
    "include:": "key include: expected a file name or a list of them, found None",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=REFUSED)
def test_an_unusable_task_file_is_refused_by_key(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("doc_to_text: question")
    (tmp_path / "mine.yaml").write_text(f"task: mine\n{text}\n")
    with pytest.raises(ParamsError, match=rf"mine\.yaml: {message}"):
        read_task_config(tmp_path / "mine.yaml")


def test_a_cycle_of_includes_is_named_where_it_closes(tmp_path: Path) -> None:
    for name, included in (("a", "b"), ("b", "sub/c"), ("sub/c", "../a")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(f"include: {included}.yaml")
    with pytest.raises(ParamsError, match=r"sub/c\.yaml: key include: \.\./a\.yaml is included twice"):
        read_task_config(tmp_path / "a.yaml")


def test_an_error_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("metadata: {version: 2024-05-01}")
    (tmp_path / "mine.yaml").write_text("include: base.yaml\nmetadata: {}")
    with pytest.raises(ParamsError, match=r"base\.yaml: key metadata\.version"):
        read_task_config(tmp_path / "mine.yaml")


def test_a_module_beside_the_task_file_comes_first(tmp_path: Path) -> None:
    near = tmp_path / "palimpsest" / "evaluate" / "process_docs.py"
    near.parent.mkdir(parents=True)
    near.write_text("pronoun_to_gap = list")
    text = "one: !function palimpsest.evaluate.process_docs.pronoun_to_gap\ntwo: !function json.loads\n"
    (tmp_path / "mine.yaml").write_text(text)
    found = read_task_config(tmp_path / "mine.yaml")
    assert found["one"] == {"function": "palimpsest.evaluate.process_docs.pronoun_to_gap", "code": file_digest(near)}
    assert found["two"] == {"function": "json.loads", "code": None}
