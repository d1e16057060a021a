"""results/ from made-up checkpoints, against figures worked out by hand: two arms that share a past, and joint."""

import csv
import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from palimpsest.artifact import atomic_file, write_json, write_manifest
from palimpsest.errors import ArtifactError
from palimpsest.evaluate import gather

LANGUAGES = ["fr", "en", "ar"]  # the order of training, which is not the alphabet's
Row = list[float]

# Nats per token of fr, en and ar, by seed and checkpoint.
LOSSES: dict[str, Row] = {
    "nano-s0.00": [8.0, 8.2, 8.4],
    "nano-s0.00/fr.01": [3.0, 7.0, 7.5],
    "nano-s0.00/fr.01/en.02": [4.5, 3.2, 7.1],
    "nano-s0.00/fr.01/en.02/ar.03": [5.0, 4.2, 3.4],
    "nano-s0.00/fr.01/en+r25+mer.04": [3.5, 3.3, 7.2],
    "nano-s0.00/fr.01/en+r25+mer.04/ar+r25+mer.05": [3.6, 3.5, 3.7],
    "nano-s0.00/joint.06": [3.1, 3.2, 3.3],
    "nano-s1.10": [8.2, 8.0, 8.6],
    "nano-s1.10/fr.11": [3.4, 7.2, 7.7],
    "nano-s1.10/fr.11/en.12": [2.9, 3.0, 7.5],
    "nano-s1.10/fr.11/en.12/ar.13": [4.1, 4.4, 3.6],
    "nano-s1.10/fr.11/en+r25+mer.14": [3.3, 3.5, 7.4],
    "nano-s1.10/fr.11/en+r25+mer.14/ar+r25+mer.15": [3.4, 3.3, 3.9],
    "nano-s1.10/joint.16": [3.3, 3.2, 3.7],
}
_REPLAYED = ("nano-s0.00/fr.01/en+r25+mer.04", "nano-s1.10/fr.11/en+r25+mer.14")
ARMS = {
    "sequential": {"0": "nano-s0.00/fr.01/en.02/ar.03", "1": "nano-s1.10/fr.11/en.12/ar.13"},
    "mer": {"0": f"{_REPLAYED[0]}/ar+r25+mer.05", "1": f"{_REPLAYED[1]}/ar+r25+mer.15"},
    "joint": {"0": "nano-s0.00/joint.06", "1": "nano-s1.10/joint.16"},
}
PARAMS = {
    "languages": LANGUAGES,
    "arms": ["sequential", "mer", "joint"],
    "evaluate": {"bootstrap": 200, "tasks": []},
    "corpus": {
        "sources": {
            "fr": [{"name": "sample", "kind": "sample"}],
            "en": [{"name": "web", "kind": "local"}, {"name": "wiki", "kind": "hf"}],
            "ar": [{"name": "hf", "kind": "hf"}],
        }
    },
}
REPLAY = {"rate": "0.25", "accounting": "add", "scope": "past"}
MER = {"interval": 20, "step_size": 0.5}
SEQUENCES = {"new_sequences": 125, "replayed_sequences": 0}
LEDGERS = {
    "plain": {"steps": 10, "new_tokens": 1000, "replayed_tokens": 0, "total_tokens": 1000, "flops": 6000},
    "replayed": {"steps": 13, "new_tokens": 1000, "replayed_tokens": 300, "total_tokens": 1300, "flops": 7800},
    "joint": {"steps": 30, "new_tokens": 3000, "replayed_tokens": 0, "total_tokens": 3000, "flops": 18000},
}


def place(folder: Path, stage: str, files: dict[str, Any], params: dict[str, Any], counts: dict[str, Any]) -> None:
    for name, value in files.items():
        write_json(folder / name, value)
    listed = [folder / name for name in files]
    write_manifest(folder, stage=stage, params=params, inputs={}, files=listed, counts=counts)


def place_run(root: Path, path: str) -> None:
    name = path.rpartition("/")[2]
    replays = "+r25" in name
    params = {"seed": int(path[6]), "replay": REPLAY if replays else None, "mer": MER if replays else None}
    if "/" not in path:
        return place(root / "runs" / path, "run", {}, {"seed": int(path[6])}, {"parameters": 77})
    params["train"] = {"batch_size": 20, "context_length": 5}
    ledger = SEQUENCES | LEDGERS["joint" if name.startswith("joint") else "replayed" if replays else "plain"]
    lines: list[dict[str, Any]] = [{"step": step, "loss": 5.0} for step in range(1, ledger["steps"] + 1)]
    for step, tokens in ((5, 500), (ledger["steps"], ledger["total_tokens"])):
        losses = {language: step / 8 + place for place, language in enumerate(LANGUAGES)}
        lines.insert(step, {"step": step, "tokens": tokens, "validation": losses})
    if replays:
        for step, at in ((4, "step"), (8, "step"), (10, "window"), (10, "interpolated"), (13, "step")):
            lines.append({"step": step, "at": at, "alignment": {"all": step / 16, "head": -step / 16}})
    with atomic_file(root / "runs" / path / "metrics.jsonl") as file:
        file.writelines(json.dumps(line).encode() + b"\n" for line in lines)
    return place(root / "runs" / path, "run", {}, params, {"parameters": 77, "ledger": ledger})


def place_evaluation(root: Path, path: str, row: Row) -> None:
    """40 documents of 10 or 30 tokens (4 bytes a token); half of them lie 0.5 above and half 0.5 below the mean."""
    tokens = [10, 10, 30, 30] * 10
    losses: dict[str, Any] = {}
    for language, mean in zip(LANGUAGES, row, strict=True):
        nats = [(mean + (0.5 if at % 2 else -0.5)) * number for at, number in enumerate(tokens)]
        losses[language] = {"nats": nats, "tokens": tokens, "bytes": [4 * number for number in tokens]}
    place(root / "results" / "evaluation" / path, "evaluation", {"losses.json": losses}, {"languages": LANGUAGES}, {})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose every stage up to evaluation is done, gathered."""
    root = tmp_path_factory.mktemp("project")
    for path, row in LOSSES.items():
        place_run(root, path)
        place_evaluation(root, path, row)
    for number, language in enumerate(LANGUAGES):
        split = {"documents": 10 + number, "bytes": 100}
        names = [source["name"] for source in PARAMS["corpus"]["sources"][language]]
        corpus = {"documents_in": 30, "dropped": {"language": 9 - 2 * number}, "train": split, "validation": split}
        corpus |= {"masked": {"email": number}, "bad_files": []}
        corpus["sources"] = {name: {"documents_in": 30 // len(names), "train": split} for name in names}
        raw = {"sources": {name: {"licence": f"of {name}"} for name in names}}
        place(root / "data" / "raw" / language, "raw", {}, {}, raw)
        place(root / "data" / "corpus" / language, "corpus", {}, {}, corpus)
        tokens = {"train": split | {"tokens": 25}, "validation": split | {"tokens": 5}}
        tokens["sources"] = {name: {"tokens": 25 // len(names), "share": 1 / len(names)} for name in names}
        place(root / "data" / "tokens" / language, "tokens", {}, {}, tokens)
    ratios = {"tokens_per_byte": 0.375, "tokens_per_word": 1.5}
    fertility = {"fr": ratios | {"tokens_per_byte": 0.25}, "en": ratios, "ar": ratios | {"tokens_per_byte": 0.5}}
    place(root / "data" / "tokenizer", "tokenizer", {}, {}, {"fertility": fertility})
    gather.build({"params": PARAMS, "arms": ARMS}, root)
    return root


@pytest.fixture(scope="module")
def result(root: Path) -> Any:
    return json.loads((root / "results" / "eval_all.json").read_text())


def of_two(one: float, other: float) -> Any:
    """A quantity over two seeds: the standard deviation of two numbers is their distance over √2."""
    return pytest.approx({"mean": (one + other) / 2, "sd": abs(one - other) / math.sqrt(2), "n": 2}, abs=1e-9)


def rows(root: Path, name: str) -> list[dict[str, str]]:
    with (root / "results" / "plots" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_head_and_the_data(result: Any) -> None:
    assert result.keys() == {"format", "sample", "params", "languages", "tasks", "arms", "runs", "data"}
    assert (result["format"], result["sample"]) == ("palimpsest.eval_all/1", True)
    assert (result["params"], result["languages"]) == (PARAMS, LANGUAGES)
    split = {"documents": 11, "bytes": 100}
    half = {"documents_in": 15, "documents": 11, "tokens": 12, "share": 0.5}
    assert result["data"]["en"] == {
        "sources": {
            "web": {"kind": "local", "licence": "of web", **half}, "wiki": {"kind": "hf", "licence": "of wiki", **half},
        },
        "masked": {"email": 1}, "bad_files": [], "documents_in": 30, "dropped": {"language": 7},
        "train": split | {"tokens": 25}, "validation": split | {"tokens": 5},
        "tokens_per_byte": 0.375, "tokens_per_word": 1.5,
    }  # fmt: skip


def test_the_loss_matrix_over_seeds(result: Any) -> None:
    sequential = result["arms"]["sequential"]
    assert sequential["stages"] == ["init", "fr", "en", "ar"]
    assert result["arms"]["joint"]["stages"] == ["init", "joint"]
    for arm, seeds in ARMS.items():
        figures = result["arms"][arm]
        assert figures["loss"].keys() == figures["bits_per_byte"].keys() == set(figures["stages"])
        for depth, stage in enumerate(figures["stages"]):
            paths = ["/".join(last.split("/")[: depth + 1]) for last in seeds.values()]
            for place, language in enumerate(LANGUAGES):
                one, other = (LOSSES[path][place] for path in paths)
                assert figures["loss"][stage][language] == of_two(one, other)
                bits = figures["bits_per_byte"][stage][language]
                assert bits == of_two(one / 4 / math.log(2), other / 4 / math.log(2))


def test_forgetting_and_transfer(result: Any) -> None:
    """fr after ar: 5.0 from its best of 3.0, and 4.1 from its best of 2.9, which the stage en reached in seed 1."""
    sequential, mer = result["arms"]["sequential"], result["arms"]["mer"]
    assert sequential["forgetting"] == {"fr": of_two(2.0, 1.2), "en": of_two(1.0, 1.4)}
    assert sequential["backward_transfer"] == {"fr": of_two(2.0, 0.7), "en": of_two(1.0, 1.4)}
    assert sequential["forward_transfer"] == {"en": of_two(1.2, 0.8), "ar": of_two(1.3, 1.1)}
    assert mer["forgetting"] == {"fr": of_two(0.6, 0.1), "en": of_two(0.2, -0.2)}
    assert mer["forward_transfer"] == {"en": of_two(1.2, 0.8), "ar": of_two(1.2, 1.2)}


def test_retained_and_learned_loss_and_joint_that_has_no_stages_to_forget(result: Any) -> None:
    sequential, mer = result["arms"]["sequential"], result["arms"]["mer"]
    assert sequential["retained_loss"] == of_two(12.6 / 3, 12.1 / 3)
    assert sequential["learned_loss"] == of_two(9.6 / 3, 10.0 / 3)
    assert mer["retained_loss"] == of_two(10.8 / 3, 10.6 / 3)
    assert mer["learned_loss"] == of_two(10.0 / 3, 10.8 / 3)
    joint = result["arms"]["joint"]
    assert joint["forgetting"] == joint["backward_transfer"] == joint["forward_transfer"] == {}
    assert joint["learned_loss"] is None and joint["retained_loss"] == of_two(3.2, 3.4)


def test_tokens_and_flops_are_summed_over_the_stages(result: Any) -> None:
    sums = {arm: (*figures["tokens"].items(), figures["flops"]) for arm, figures in result["arms"].items()}
    plain = (("new", 3000), ("replayed", 0), ("total", 3000), 18000)
    replayed = (("new", 3000), ("replayed", 600), ("total", 3600), 21600)
    assert sums == {"sequential": plain, "mer": replayed, "joint": plain}


def test_lineages_begin_with_the_initial_model(result: Any) -> None:
    for arm, depth in (("sequential", 4), ("mer", 4), ("joint", 2)):
        for seed, last in ARMS[arm].items():
            lineage = result["arms"][arm]["lineages"][seed]
            assert (lineage[0], lineage[-1]) == (f"nano-s{seed}.{seed}0", last)
            assert len(lineage) == depth and lineage == sorted(lineage, key=len)
            assert set(lineage) <= LOSSES.keys()


def test_runs(result: Any) -> None:
    runs = result["runs"]
    assert runs.keys() == LOSSES.keys()
    first = {key: value for key, value in runs["nano-s1.10"].items() if key != "loss"}
    assert first == {
        "arms": ["sequential", "mer", "joint"], "seed": 1, "stage": "init", "parent": None, "parameters": 77,
        "replay": None, "mer": None, "ledger": None, "tasks": {}, "samples": {},
    }  # fmt: skip
    last = {key: value for key, value in runs[ARMS["mer"]["0"]].items() if key != "loss"}
    assert last == {
        "arms": ["mer"], "seed": 0, "stage": "ar", "parent": "nano-s0.00/fr.01/en+r25+mer.04", "parameters": 77,
        "replay": REPLAY, "mer": MER, "ledger": SEQUENCES | LEDGERS["replayed"], "tasks": {}, "samples": {},
    }  # fmt: skip
    assert runs["nano-s0.00/fr.01"]["arms"] == ["sequential", "mer"]
    assert runs["nano-s0.00/joint.06"]["stage"] == "joint"


def test_a_runs_losses_and_their_intervals(result: Any) -> None:
    """A document lies 0.5 off, by chance: with 40 of them, 1.96 standard errors are 0.173."""
    for path, row in LOSSES.items():
        for mean, language in zip(row, LANGUAGES, strict=True):
            loss = dict(result["runs"][path]["loss"][language])
            low, high = loss.pop("ci95")
            sizes = {"tokens": 800, "bytes": 3200, "documents": 40}
            assert loss == pytest.approx({"nats_per_token": mean, "bits_per_byte": mean / 4 / math.log(2)} | sizes)
            assert mean - 0.25 < low < mean - 0.1 and mean + 0.1 < high < mean + 0.25


def test_the_tables_of_figures(root: Path) -> None:
    matrix = rows(root, "loss_matrix")
    assert list(matrix[0]) == ["arm", "stage", "language", "loss", "bits_per_byte"]
    stages = {arm: ["init", "joint"] if arm == "joint" else ["init", *LANGUAGES] for arm in ARMS}
    assert [(r["arm"], r["stage"]) for r in matrix[::3]] == [(arm, stage) for arm in ARMS for stage in stages[arm]]
    last = {r["language"]: r for r in matrix if (r["arm"], r["stage"]) == ("sequential", "ar")}
    assert len(matrix) == 30 and last.keys() == set(LANGUAGES)
    for language, mean in {"fr": 4.55, "en": 4.3, "ar": 3.5}.items():
        found = [float(last[language][unit]) for unit in ("loss", "bits_per_byte")]
        assert found == pytest.approx([mean, mean / 4 / math.log(2)])
    forgotten = [(r["arm"], r["language"], round(float(r["forgetting"]), 9)) for r in rows(root, "forgetting")]
    assert forgotten == [("sequential", "fr", 1.6), ("sequential", "en", 1.2), ("mer", "fr", 0.35), ("mer", "en", 0.0)]


def test_the_table_of_ledgers(root: Path) -> None:
    found = [tuple(row.values()) for row in rows(root, "ledger")]
    plain, replayed = ("1000", "0", "1000", "6000"), ("1000", "300", "1300", "7800")
    assert ",".join(rows(root, "ledger")[0]) == "arm,stage,new_tokens,replayed_tokens,total_tokens,flops"
    assert found[:3] == [("sequential", language, *plain) for language in LANGUAGES]
    assert found[3:6] == [("mer", "fr", *plain), ("mer", "en", *replayed), ("mer", "ar", *replayed)]
    assert found[6:] == [("joint", "joint", "3000", "0", "3000", "18000")]


def test_the_curves_count_on_through_the_stages(root: Path) -> None:
    curves = rows(root, "loss_curves")
    assert list(curves[0]) == ["arm", "seed", "stage", "language", "step", "tokens", "loss"]
    doubled = ["fr", "fr", "en", "en", "ar", "ar"]
    stage_ends = {
        "sequential": [(language, 500 * n // 100, 500 * n) for n, language in zip(range(1, 7), doubled, strict=True)],
        "mer": list(zip(doubled, [5, 10, 15, 23, 28, 36], [500, 1000, 1500, 2300, 2800, 3600], strict=True)),
        "joint": [("joint", 5, 500), ("joint", 30, 3000)],
    }
    for seed, arm in itertools.product(("0", "1"), ARMS):
        chosen = [row for row in curves if (row["seed"], row["arm"], row["language"]) == (seed, arm, "en")]
        assert [(row["stage"], int(row["step"]), int(row["tokens"])) for row in chosen] == stage_ends[arm]
    first = [row["loss"] for row in curves if (row["seed"], row["arm"], row["language"]) == ("0", "mer", "en")]
    assert [float(loss) for loss in first] == [1.625, 2.25, 1.625, 2.625, 1.625, 2.625]
    assert len(curves) == 2 * 3 * 14


def test_the_short_form(root: Path) -> None:
    short = json.loads((root / "results" / "metrics.json").read_text())
    assert short == {
        "sequential": {
            "loss": {"fr": 4.55, "en": 4.3, "ar": 3.5}, "forgetting": {"fr": 1.6, "en": 1.2},
            "retained_loss": 4.1167, "learned_loss": 3.2667, "tokens": 3000, "flops": 18000,
        },
        "mer": {
            "loss": {"fr": 3.5, "en": 3.4, "ar": 3.8}, "forgetting": {"fr": 0.35, "en": 0.0},
            "retained_loss": 3.5667, "learned_loss": 3.4667, "tokens": 3600, "flops": 21600,
        },
        "joint": {
            "loss": {"fr": 3.2, "en": 3.2, "ar": 3.5}, "forgetting": {},
            "retained_loss": 3.3, "tokens": 3000, "flops": 18000,
        },
    }  # fmt: skip


def test_the_alignment_counts_on_through_the_stages(root: Path) -> None:
    """13 steps of 100 tokens in each stage that replays, after the 10 of the first."""
    alignment = rows(root, "alignment")
    assert list(alignment[0]) == ["arm", "seed", "stage", "step", "tokens", "at", "group", "cosine"]
    whole = [tuple(row.values())[2:] for row in alignment if (row["seed"], row["group"]) == ("1", "all")]
    places = [(4, "step"), (8, "step"), (10, "window"), (10, "interpolated"), (13, "step")]
    assert whole == [
        (stage, str(before + step), str(100 * (before + step)), at, "all", str(step / 16))
        for stage, before in (("en", 10), ("ar", 23))
        for step, at in places
    ]
    assert {row["arm"] for row in alignment} == {"mer"} and len(alignment) == 2 * 2 * 5 * 2


def test_tasks_and_samples(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root, tmp_path / "project")
    params = PARAMS | {"arms": ["joint"], "evaluate": {"bootstrap": 10, "tasks": ["piqa"]}}
    values = {"nano-s0.00": 0.5, "nano-s0.00/joint.06": 0.75, "nano-s1.10": 0.25, "nano-s1.10/joint.16": 1.0}
    for path, value in values.items():
        piqa = {"metric": "acc", "value": value, "stderr": 0.1, "documents": 4, "chance": 0.5, "language": "en"}
        tasks = {"piqa": piqa | {"version": 1.0, "key": "k"}}
        place(folder / "results" / "tasks" / path, "tasks", {"tasks.json": tasks}, {}, {})
    evaluated = folder / "results" / "evaluation" / "nano-s0.00"
    samples = {"fr": [{"prompt": "Il", "text": " y a"}]}
    losses = json.loads((evaluated / "losses.json").read_text())
    place(evaluated, "evaluation", {"losses.json": losses, "samples.json": samples}, {"languages": LANGUAGES}, {})
    gather.build({"params": params, "arms": ARMS}, folder)
    found = json.loads((folder / "results" / "eval_all.json").read_text())
    assert found["tasks"] == {"piqa": {"language": "en", "metric": "acc", "chance": 0.5}}
    assert found["arms"]["joint"]["tasks"] == {"init": {"piqa": of_two(0.5, 0.25)}, "joint": {"piqa": of_two(0.75, 1)}}
    first = found["runs"]["nano-s0.00"]
    assert first["tasks"] == {"piqa": {"value": 0.5, "stderr": 0.1, "documents": 4}} and first["samples"] == samples
    assert json.loads((folder / "results" / "metrics.json").read_text())["joint"]["tasks"] == {"piqa": 0.875}
    (folder / "results" / "tasks" / "nano-s1.10" / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"tasks/nano-s1\.10/manifest\.json: no such file"):
        gather.build({"params": params, "arms": ARMS}, folder)


def test_gathering_again_gives_the_same_bytes(root: Path) -> None:
    results = [path for path in (root / "results").glob("**/*.*") if "evaluation" not in path.parts]
    before = {path: path.read_bytes() for path in results}
    gather.build({"params": PARAMS, "arms": ARMS}, root)
    assert {path: path.read_bytes() for path in results} == before and len(before) == 13
    assert not any(str(root).encode() in data for data in before.values())


def test_a_missing_evaluation_is_named(root: Path) -> None:
    spec = {"params": PARAMS | {"arms": ["mer"]}, "arms": {"mer": {"0": "nano-s0.00/fr.99"}}}
    with pytest.raises(ArtifactError, match=r"nano-s0\.00/fr\.99/manifest\.json: no such file"):
        gather.build(spec, root)
