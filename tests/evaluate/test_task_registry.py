"""The available tasks, the data that they read, and errors for what is missing; lm_eval is not imported."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import zstandard

from palimpsest.artifact import file_digest
from palimpsest.errors import DataError, ParamsError
from palimpsest.evaluate import process_docs
from palimpsest.evaluate.task_registry import built_in_tasks, describe_tasks, find_task
from palimpsest.specs.evaluation import TaskSpec

EXPECTED = {
    "hellaswag", "piqa", "pubmedqa", "jcommonsenseqa", *(f"xquad_{code}" for code in ("en", "de", "ar")),
    *(f"xwinograd_{code}" for code in ("en", "fr", "ja")), *(f"mgsm_{code}" for code in ("en", "de", "fr", "ja")),
    *(f"sample_cloze_{code}" for code in ("en", "fr", "de", "ar", "ja")),
}  # fmt: skip


class Rows(list):
    """The part of datasets.Dataset that the functions use."""

    @classmethod
    def from_list(cls, rows: list[Any]) -> Rows:
        return cls(rows)


def functions(config: Any) -> list[str]:
    if isinstance(config, dict):
        return [config["function"]] if "function" in config else list(itertools.chain(*map(functions, config.values())))
    return []


def test_the_built_in_tasks() -> None:
    assert set(built_in_tasks()) == EXPECTED
    for name in EXPECTED:
        task = find_task(name)
        assert task.name == name and task.built_in
        assert task.metadata["version"] and 0 < task.metadata["chance"] < 1
        assert task.metadata["language"] == name[-2:] or name in ("hellaswag", "piqa", "pubmedqa", "jcommonsenseqa")
        assert len(task.files()) == 1 and "/" not in task.files()[0]
        for function in functions(task.config):
            module, _, attribute = function.rpartition(".")
            assert callable(getattr(importlib.import_module(module), attribute))


@pytest.mark.parametrize("name", ["xquad_en", "xwinograd_fr", "mgsm_de"])
def test_the_hash_of_a_built_in_task_covers_its_code(name: str) -> None:
    code = find_task(name).config["process_docs"]["code"]
    assert code == file_digest(Path(process_docs.__file__)) is not None


def test_the_registry_imports_neither_the_harness_nor_torch() -> None:
    code = "import sys; import palimpsest.evaluate.task_registry as r; r.find_task('piqa'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"lm_eval", "datasets", "torch", "transformers"} & set(modules)


def test_local_data_files_are_absolute_and_have_their_own_cache(tmp_path: Path) -> None:
    piqa = find_task("piqa")
    overrides = piqa.overrides("local", tmp_path, tmp_path / "cache")
    files = {"test": str(tmp_path / "piqa.valid.jsonl.zst")}
    assert overrides == {"dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path / "cache")}}
    assert piqa.config["dataset_kwargs"] == {"data_files": {"test": "piqa.valid.jsonl.zst"}}


def test_overrides_for_data_from_the_hub(tmp_path: Path) -> None:
    for name in EXPECTED:
        task = find_task(name)
        if task.uses_sample_corpus:
            assert not task.from_hub("hub")
            continue
        config = task.config | task.overrides("hub", tmp_path, tmp_path)
        kwargs = config["dataset_kwargs"] or {}
        assert task.from_hub("hub") and not task.from_hub("local") and "cache_dir" not in kwargs
        assert "/" in config["dataset_path"] or kwargs["data_files"]["test"].startswith("hf://datasets/")
        assert config["dataset_path"] != "json" and str(tmp_path) not in json.dumps(config)
    xwinograd = find_task("xwinograd_ja")
    assert xwinograd.overrides("hub", tmp_path, tmp_path) == {
        "dataset_kwargs": None, "dataset_path": "Muennighoff/xwinograd", "dataset_name": "jp", "process_docs": None,
    }  # fmt: skip


def describe(names: list[str], folder: Path | None, source: str = "local", **samples: Path) -> list[TaskSpec]:
    return describe_tasks(names, str(folder) if folder else None, source, samples, file_digest)


def test_a_task_spec_changes_with_the_data_only(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "piqa.valid.jsonl.zst").write_bytes(b"data")
    before = describe(["piqa"], tmp_path / "one")
    assert describe(["piqa"], tmp_path / "two") == before
    assert (before[0].name, before[0].file, list(before[0].data)) == ("piqa", None, ["piqa.valid.jsonl.zst"])
    (tmp_path / "one" / "piqa.valid.jsonl.zst").write_bytes(b"atad")
    assert describe(["piqa"], tmp_path / "one") != before
    assert describe(["piqa"], None, "hub")[0].data == {}


def test_missing_tasks_and_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ParamsError, match=r"evaluate\.tasks: there is no task 'pika'; the built-in ones are .*mgsm_de.*piqa"
    ):
        describe(["pika"], tmp_path)
    with pytest.raises(ParamsError, match=r"evaluate\.tasks: .*mine\.yaml: no such file"):
        describe([str(tmp_path / "mine.yaml")], tmp_path)
    with pytest.raises(DataError, match=rf"evaluate\.task_data: {tmp_path} has no file piqa\.valid\.jsonl\.zst"):
        describe(["piqa"], tmp_path)
    with pytest.raises(ParamsError, match=r"evaluate\.task_data: is null, but piqa reads piqa\.valid\.jsonl\.zst"):
        describe(["piqa"], None)
    with pytest.raises(ParamsError, match=r"sample_cloze_fr asks about the sample corpus, and corpus\.sources\.fr has"):
        describe(["sample_cloze_fr"], None, en=tmp_path)
    (sample,) = describe(["sample_cloze_en"], None, en=tmp_path)
    assert (sample.data, sample.sample) == ({}, "en")


MINE = """
include: base.yaml
task: mine
dataset_kwargs: {data_files: {test: [a.jsonl, sub/b.jsonl]}}
process_docs: !function helper.change
"""


def place_mine(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "base.yaml").write_text("dataset_path: json\ntask: base\ndoc_to_text: question\nmetadata: {version: 2}\n")
    (folder / "mine.yaml").write_text(MINE)
    (folder / "helper.py").write_text("change = list")
    for name in ("a.jsonl", "sub/b.jsonl"):
        (folder / name).write_text("{}\n")
    return folder / "mine.yaml"


def test_a_user_supplied_task_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place_mine(tmp_path / "here")
    task = find_task(str(file))
    assert (task.name, task.built_in, task.config["doc_to_text"]) == ("mine", False, "question")
    placed = task.overrides("hub", file.parent, tmp_path / "c")["dataset_kwargs"]["data_files"]
    assert placed == {"test": [str(file.parent / "a.jsonl"), str(file.parent / "sub" / "b.jsonl")]}
    monkeypatch.setenv("PLACE", str(tmp_path))
    (before,) = describe(["$PLACE/here/mine.yaml"], None)
    assert before.file == "$PLACE/here/mine.yaml" and list(before.data) == ["a.jsonl", "sub/b.jsonl"]
    for name in ("helper.py", "base.yaml", "sub/b.jsonl"):
        content = (file.parent / name).read_text()
        (file.parent / name).write_text(content + " ")
        changed = describe(["$PLACE/here/mine.yaml"], None)
        assert (changed == [before]) is (name == "base.yaml"), name
        (file.parent / name).write_text(content)
    (file.parent / "sub" / "b.jsonl").unlink()
    with pytest.raises(DataError, match=r"sub/b\.jsonl: no such file; .*mine\.yaml names it"):
        describe([str(file)], None)


KWARGS = {  # the expected message
    "{data_dir: here}": r"key dataset_kwargs\.data_files: found None, expected .*; data_dir is not supported",
    "[a.jsonl]": r"key dataset_kwargs\.data_files: found None",
    "{data_files: {test: null}}": r"data_files: found \{'test': None\}, expected the names of the data files",
    "{data_files: [1]}": r"data_files: found \[1\], expected",
    "{data_files: {test: [a.jsonl, /etc/b.jsonl]}}": r"data_files: /etc/b\.jsonl is absolute; .* relative to the task",
}


def test_unusable_task_files_are_refused(tmp_path: Path) -> None:
    file = place_mine(tmp_path / "mine")
    with pytest.raises(ParamsError, match="two tasks are called mine"):
        describe([str(file), str(file)], None)
    for text, message in (
        ("task: [a, b]", "key task: expected the task's name"),
        ("- a", "expected keys and values, found list"),
        ("task: {", "not a task file"),
        ("task: t\nmetadata: {language: no}", "key metadata.language: found False, expected text in quotes"),
        ("task: t\nmetadata: {chance: '0.25'}", "key metadata.chance: found '0.25', expected a number"),
        ("task: t\nmetadata: {version: [1]}", r"key metadata.version: found \[1\], expected a number or text"),
        ("task: t\ninclude: none.yaml", "none.yaml: not a task file: .*No such file"),
        *((f"task: t\ndataset_path: json\ndataset_kwargs: {kwargs}", expected) for kwargs, expected in KWARGS.items()),
        ("task: t\ndataset_path: some/where", "dataset_path is 'some/where', which is not on this machine"),
    ):
        file.write_text(text)
        with pytest.raises(ParamsError, match=message) as raised:
            describe([str(file)], None)
        assert str(file.parent) in str(raised.value)
    assert describe([str(file)], None, "hub")[0].data == {}


def test_without_the_harness_tasks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert describe([], None) == []
    with pytest.raises(ParamsError, match=r"evaluate\.tasks names .*: install lm_eval\[hf\] .* evaluate\.tasks: \[\]"):
        describe(["sample_cloze_en"], None, en=tmp_path)


def test_ignoring_the_question_scores_chance() -> None:
    """All questions about a paragraph have the same choices, so always preferring one of them is right once."""
    local = Rows(
        {"context": f" {paragraph}", "question": f"{paragraph}{number}", "answers": [f"{paragraph}-{number}"]}
        for paragraph, size in (("a", 4), ("b", 2), ("c", 1), ("d", 3))
        for number in range(size)
    )
    rows = process_docs.choices_of_same_paragraph(local)
    assert [row["choices"][row["answer"]] for row in rows] == [f"{p}-{n}" for p in "abd" for n in range(9)
                                                               if n < {"a": 4, "b": 2, "d": 3}[p]]  # fmt: skip
    for liked in (min, max):
        right = sum(liked(row["choices"]) == row["choices"][row["answer"]] for row in rows)
        assert right == 3 == pytest.approx(sum(1 / len(row["choices"]) for row in rows))
    assert rows[0]["context"] == "a"
    hub = Rows(row | {"answers": {"text": row["answers"], "answer_start": [0]}} for row in local)
    assert process_docs.choices_of_same_paragraph(hub) == rows


def test_numeric_answers_are_grouped_by_five() -> None:
    local = Rows(
        {"id": str(n), "question": f"q{n}", "answer": text} for n, text in enumerate("7 1,200 7 3 4 9 8".split())
    )
    rows = process_docs.choices_of_neighbours(local)
    assert [row["choices"] for row in rows] == [["7", "1200", "3", "4"]] * 5 + [["9", "8"]] * 2
    assert [row["answer"] for row in rows] == [0, 1, 0, 2, 3, 0, 1]
    numbers = [7, 1200, 7, 3, 4, 9, 8]
    hub = Rows({"question": f"q{n}", "answer": None, "answer_number": number} for n, number in enumerate(numbers))
    assert process_docs.choices_of_neighbours(hub) == rows


def test_a_pronoun_becomes_a_gap() -> None:
    """The second "her" is the pronoun, and the words have different quotation marks than the sentence."""
    words = ["Ann", "told", "Eve", "``", "no", "''", "in", "her", "house", "as", "her", "son", "slept", "."]
    columns = [
        'Ann told Eve "no" in her house as her son slept.', json.dumps(words), json.dumps(["her", [10, 11], ["her"]]),
        json.dumps([["Ann", [0, 1], ["Ann"], False], ["Eve", [2, 3], ["Eve"], True]]),
    ]  # fmt: skip
    (row,) = process_docs.pronoun_to_gap(Rows([{"columns": columns}]))
    assert row == {
        "sentence": 'Ann told Eve "no" in her house as _ son slept.', "option1": "Ann", "option2": "Eve", "answer": "2",
    }  # fmt: skip


def test_the_chance_levels_are_those_of_the_data() -> None:
    root = os.environ.get("PALIMPSEST_TEXT")
    if root is None:
        pytest.skip("PALIMPSEST_TEXT names no folder of real text")
    for name in (name for name in EXPECTED if name.startswith(("xquad", "mgsm"))):
        task = find_task(name)
        with zstandard.open(Path(root) / "eval" / task.files()[0], "rt", encoding="utf-8") as file:
            rows = Rows(map(json.loads, file))
        change = getattr(process_docs, task.config["process_docs"]["function"].rpartition(".")[2])
        chances = [1 / len(row["choices"]) for row in change(rows)]
        assert task.metadata["chance"] == round(sum(chances) / len(chances), 4), name
