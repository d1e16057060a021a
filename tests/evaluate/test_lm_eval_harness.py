"""The harness itself: against its own command line, and against likelihoods worked out from the logits."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard
from support.small_checkpoint import PIQA, tasks_spec, write_jsonl_zst
from tokenizers import Tokenizer

from palimpsest.artifact import read_json
from palimpsest.codec import encode
from palimpsest.evaluate import task_registry
from palimpsest.evaluate.run_tasks import run_tasks
from palimpsest.evaluate.task_registry import find_task
from palimpsest.model.hf_checkpoint import load_model

CODE = """
import json, sys
from pathlib import Path
from palimpsest.codec import decode
from palimpsest.evaluate.run_tasks import run_tasks
from palimpsest.specs.evaluation import TasksSpec
spec, run, raw, out = json.loads(sys.argv[1])
run_tasks(decode(TasksSpec, spec, "spec"), Path(run), {name: Path(folder) for name, folder in raw.items()}, Path(out))
"""


def write_task_data(folder: Path, raw: dict[str, Path]) -> list[str]:
    """Write files to where the harness's command line looks for them; returns the names of their tasks."""
    folder.mkdir()
    shutil.copyfile(raw["en"] / "stories" / "cloze.jsonl.zst", folder / "cloze.jsonl.zst")
    root = os.environ.get("PALIMPSEST_TEXT")
    if root is None:
        write_jsonl_zst(folder / "piqa.valid.jsonl.zst", PIQA)
        return ["sample_cloze_en", "piqa"]
    names = ["piqa", "hellaswag", "xquad_ar", "xwinograd_ja"]
    for file in (file for name in names for file in find_task(name).files()):
        shutil.copyfile(Path(root) / "eval" / file, folder / file)
    return ["sample_cloze_en", *names]


def sizes(names: list[str], data: Path, raw: dict[str, Path]) -> dict[str, int]:
    """How many questions each task has: one per line, without XQuAD's paragraphs that have only one answer."""
    found = {}
    for name in names:
        (file,) = find_task(name).files()
        place = data / file if (data / file).exists() else raw["en"] / "stories" / file
        with zstandard.open(place, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        answers: dict[str, set[str]] = {}
        for row in rows if name.startswith("xquad") else []:
            answers.setdefault(row["context"], set()).add(row["answers"][0].strip())
        found[name] = sum(len(answers.get(row.get("context"), "ab")) > 1 for row in rows)
    return found


@pytest.fixture(scope="module")
def both(checkpoint: Path, raw: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Our results, those of the harness's command line, and the names of all other files that we wrote."""
    folder = tmp_path_factory.mktemp("both")
    names = write_task_data(folder / "data", raw)
    for name in ("home", "tmp", "cwd"):
        (folder / name).mkdir()
    clean = {
        "PATH": os.environ["PATH"],
        "HOME": f"{folder}/home",
        "TMPDIR": f"{folder}/tmp",
        "CUDA_VISIBLE_DEVICES": "",
    }
    spec = tasks_spec(names, folder / "data", {"en": raw["en"]}, limit=24)
    arguments = [encode(spec), str(checkpoint), {"en": str(raw["en"])}, str(folder / "out")]
    subprocess.run([sys.executable, "-c", CODE, json.dumps(arguments)], check=True, cwd=folder / "cwd", env=clean)
    written = [str(path) for name in ("home", "tmp", "cwd") for path in (folder / name).rglob("*") if path.is_file()]
    chosen = {
        name: [index * size // 24 for index in range(24)] for name, size in sizes(names, folder / "data", raw).items()
    }
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hf", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [
            sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={checkpoint}",
            "--include_path", str(Path(task_registry.__file__).with_name("task_files")), "--tasks", ",".join(names),
            "--samples", json.dumps(chosen), "--batch_size", "16", "--device", "cpu",
            "--output_path", str(folder / "theirs"),
        ],
        check=True, cwd=folder / "data", env=clean | offline, capture_output=True,
    )  # fmt: skip
    (theirs,) = (folder / "theirs").rglob("*.json")
    return read_json(folder / "out" / "tasks.json"), read_json(theirs)["results"], written


@pytest.mark.slow
def test_scores_equal_the_harness_command_line_to_the_last_digit(both: Any) -> None:
    ours, theirs, written = both
    assert ours.keys() >= {"sample_cloze_en", "piqa"}
    for name, answer in ours.items():
        assert answer["value"] == theirs[name][f"{answer['metric']},none"], name
        assert answer["stderr"] == theirs[name][f"{answer['metric']}_stderr,none"], name
    assert not written


@pytest.mark.slow
def test_sample_questions_are_scored_by_likelihood(
    both: Any, checkpoint: Path, raw: dict[str, Path], byte_level: Path
) -> None:
    """Worked out from the model's logits alone."""
    torch.set_num_threads(1)
    model, words = load_model(checkpoint, torch.device("cpu")), Tokenizer.from_file(str(byte_level / "tokenizer.json"))

    @torch.no_grad()
    def likelihood(prompt: str, answer: str) -> float:
        whole, start = words.encode(prompt + answer).ids, len(words.encode(prompt).ids)
        log_probs = model(input_ids=torch.tensor([whole[:-1]])).logits[0].double().log_softmax(-1)
        wanted = whole[start:]
        return sum(float(log_probs[spot - len(wanted), token]) for spot, token in enumerate(wanted))

    with zstandard.open(raw["en"] / "stories" / "cloze.jsonl.zst", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    questions = [rows[index * len(rows) // 24] for index in range(24)]
    right = 0
    for question in questions:
        prompt = f"{question['context']} {question['question']}"
        scores = [likelihood(prompt, f" {choice}") for choice in question["choices"]]
        right += scores.index(max(scores)) == question["answer"]
    assert both[0]["sample_cloze_en"]["value"] == right / 24 and both[0]["sample_cloze_en"]["documents"] == 24


@pytest.mark.slow
def test_an_answer_longer_than_the_context_is_scored_by_its_beginning(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    """The harness's own model fails here. The answers share a prefix longer than the context, so the first one wins."""
    start = "zq" * 400
    write_jsonl_zst(data / "piqa.valid.jsonl.zst", [row | {"sol1": start + "a", "sol2": start + "b"} for row in PIQA])
    run_tasks(tasks_spec(["piqa"], data, {}), checkpoint, {}, tmp_path / "out")
    assert read_json(tmp_path / "out" / "tasks.json")["piqa"]["value"] == 0.5


MINE = """
task: mine
output_type: multiple_choice
dataset_path: json
dataset_kwargs: {data_files: {test: mine.jsonl}}
test_split: test
process_docs: !function helper.first
doc_to_text: goal
doc_to_choice: "{{ [sol1, sol2] }}"
doc_to_target: label
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.slow
def test_a_user_supplied_task_file_whose_data_changes_in_place(checkpoint: Path, tmp_path: Path) -> None:
    """The new data has the same name, size and time, but every label is flipped."""
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "helper.py").write_text("def first(dataset):\n    return dataset.select(range(5))\n")
    file, found = tmp_path / "mine.jsonl", []
    for flip in (0, 1):
        file.write_text("".join(json.dumps(row | {"label": row["label"] ^ flip}) + "\n" for row in PIQA))
        os.utime(file, ns=(10**18, 10**18))
        run_tasks(tasks_spec([str(tmp_path / "mine.yaml")], tmp_path, {}), checkpoint, {}, tmp_path / "out")
        found.append(read_json(tmp_path / "out" / "tasks.json")["mine"])
    assert found[0]["value"] + found[1]["value"] == 1 and found[0]["value"] != found[1]["value"]
    assert [found[0][key] for key in ("documents", "language", "chance", "version")] == [5, None, None, None]


def rendered(name: str, row: dict[str, Any], source: str = "local") -> tuple[Any, Any, Any]:
    """The text, choices and target that the harness renders from a row."""
    from lm_eval.utils import apply_template

    task = find_task(name)
    config = task.config | (task.overrides(source, Path(), Path()) if source == "hub" else {})

    def field(key: str) -> Any:
        given = config[key]
        return row[given] if isinstance(given, str) and given in row else apply_template(given, row)

    choices = config["doc_to_choice"]
    if isinstance(choices, str):
        choices = row[choices] if choices in row else ast.literal_eval(field("doc_to_choice"))
    return field("doc_to_text"), choices, field("doc_to_target")


@pytest.mark.slow
def test_questions_are_rendered_as_the_harness_renders_them() -> None:
    from lm_eval.tasks.hellaswag.utils import preprocess
    from lm_eval.tasks.pubmedqa.preprocess_pubmedqa import doc_to_text
    from lm_eval.tasks.xwinograd import utils as winograd

    hub = {"CONTEXTS": ["One.", "Two."], "QUESTION": "Is it?", "final_decision": "no"}
    local = {"contexts": hub["CONTEXTS"], "question": "Is it?", "final_decision": "no"}
    row: dict[str, Any]
    for row, source in ((hub, "hub"), (local, "local")):
        assert rendered("pubmedqa", row, source) == (doc_to_text(hub), ["yes", "no", "maybe"], "no")
    pair = {"sentence": "Ann thanked Eve, for _ had helped. She_ smiled.", "option1": "Ann", "option2": "Eve"}
    for answer in ("1", "2"):
        row = pair | {"answer": answer}
        assert rendered("xwinograd_en", row) == (
            str(winograd.doc_to_text(row)), winograd.doc_to_choice(row), winograd.doc_to_target(row),
        )  # fmt: skip
    endings = ["on [substeps] the roof.  ", " down [title] Then  up", "a", "b"]
    row = {
        "activity_label": "Roofs", "ctx_a": "A man is [header] up. [step] He looks.", "ctx_b": "he and Ann",
        "endings": endings, "label": "2",
    }  # fmt: skip
    text = preprocess(f"Roofs: {row['ctx_a']} {row['ctx_b'].capitalize()}")
    assert rendered("hellaswag", row, "hub") == (text, list(map(preprocess, endings)), "2")
    flat = {"ctx": "Roofs: A man is up. He looks. he and Ann", "endings": endings, "label": 2}
    assert rendered("hellaswag", flat) == ("Roofs: A man is up. He looks. He and ann", endings, "2")
    whole = flat | {"ctx": "Roofs: How to. Find it. Then go."}
    assert rendered("hellaswag", whole)[0] == whole["ctx"]
