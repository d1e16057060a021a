"""Which params are valid, and what the messages about others name."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import ParamsError
from palimpsest.params import grid, load, parse, point_params
from palimpsest.params.reference import markdown

ROOT = Path(__file__).parents[1]
SOURCES = {language: {"kind": "sample"} for language in ("en", "fr", "de")}


def values(**changes: Any) -> dict[str, Any]:
    return {"languages": ["en", "fr"], "corpus": {"sources": SOURCES}} | changes


def test_the_params_of_the_repository_are_valid():
    params = load(ROOT / "params.yaml")
    assert params.languages == ("en", "fr", "de")
    assert set(params.corpus.sources) == {"en", "fr", "de", "ar", "ja"}


def test_the_reference_page_is_generated_from_the_declarations():
    assert (ROOT / "docs" / "params.md").read_text() == markdown(), "palimpsest reference > docs/params.md"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replay": {"rate": 1}}, r"replay\.rate: found 1: must be in \[0, 1\)"),
        ({"replay": {"rate": -0.1}}, r"replay\.rate: found -0\.1: must be in \[0, 1\)"),
        ({"replay": {"rate": "lots"}}, r"replay\.rate: found 'lots': must be a number"),
        ({"replay": {"rate": float("nan")}}, r"replay\.rate: found nan: must be in \[0, 1\)"),
        ({"replay": {"rate": 0.30000000000000004}}, "at most nine decimals"),
        ({"train": {"learning_rate": float("inf")}}, r"train\.learning_rate: found inf: .*finite"),
        ({"sweep": {"tokenizer.vocab_size": [300]}}, r"sweep: 'tokenizer\.vocab_size' cannot be swept"),
        ({"sweep": {"train.context_length": [64]}}, r"sweep: 'train\.context_length' cannot be swept"),
        ({"replay": {"rat": 0.5}}, r"replay\.rat: unknown key"),
        ({"replay": {"scope": "all"}}, r"replay\.scope: found 'all': .*'seen' or 'capacity'"),
        ({"mer": {"step_size": 1.5}}, r"mer\.step_size: found 1\.5: .*less than or equal to 1"),
        ({"mer": {"interval": 0}}, r"mer\.interval: found 0: .*greater than 0"),
        ({"mer": {"interval": 151}}, r"mer\.interval: 151 steps are more than the 150 of a stage"),
        ({"train": {"steps": "many"}}, r"train\.steps: found 'many': .*integer"),
        ({"train": {"steps": True}}, r"train\.steps: found True: .*integer"),
        ({"train": {"learning_rate": 1e-5}}, r"min_learning_rate 0\.0001 is above learning_rate 1e-05"),
        ({"languages": ["en", "it"]}, r"languages: 'it' has no entry in corpus\.sources; it has en, fr, de"),
        ({"languages": ["en", "en"]}, r"languages: .* has a duplicate"),
        ({"languages": []}, r"languages: .*at least 1"),
        ({"arms": ["replay", "mre"]}, r"arms\.1: found 'mre': .*'sequential', 'replay'"),
        ({"model": {"heads": 3}}, r"width 128 must be a multiple of twice the heads 3"),
        (
            {"tokenizer": {"path": "nowhere/tokenizer.json"}},
            r"tokenizer\.path: 'nowhere/tokenizer\.json': no such file",
        ),
        ({"sweep": {"mer.epsilon": [0.1]}}, r"sweep: 'mer\.epsilon' is not a key"),
        ({"sweep": {"replay.rate": [0.1, 1.0]}}, r"replay\.rate: found 1\.0: must be in \[0, 1\)"),
        ({"seeds": [-1]}, r"seeds\.0: found -1: .*greater than or equal to 0"),
    ],
)
def test_an_invalid_value_is_named_with_what_is_allowed(changes, message):
    with pytest.raises(ParamsError, match=message) as refused:
        parse(values(**changes), "params.yaml")
    assert str(refused.value).startswith("params.yaml: ")


@pytest.mark.parametrize("name", ["a/x$(touch PWNED)", "a/b c", "a/..", "a/b/c", "../b", "a/{b}", "a/b\n", "a"])
@pytest.mark.parametrize("section", ["model", "tokenizer"])
def test_a_name_on_the_hub_has_no_characters_that_mean_something_elsewhere(section, name):
    given = {"hub": name, "revision": "a" * 40}
    with pytest.raises(ParamsError, match=rf"(?s){section}\.hub: found .*pattern"):
        parse(values(**{section: given}), "params.yaml")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "smple"}, r"corpus\.sources\.en: .*'sample', 'local', 'hf', 'http', 'warc'"),
        ({"kind": "local"}, r"corpus\.sources\.en\.path: missing"),
        (
            {"kind": "local", "path": "no/such/*.jsonl"},
            r"corpus\.sources\.en\.path: 'no/such/\*\.jsonl' matches no file",
        ),
        (
            {"kind": "local", "path": "${NO_SUCH_VARIABLE}/a.txt"},
            "the environment variable NO_SUCH_VARIABLE is not set",
        ),
        ({"kind": "hf", "dataset": "owner/name"}, "revision must be a commit hash of 40 hex digits"),
        (
            {"kind": "hf", "dataset": "no/such/folder"},
            "dataset: found 'no/such/folder', expected owner/name on the hub",
        ),
        ({"kind": "hf", "dataset": "owner/name", "revision": "main"}, "found 'main'; a branch or tag can move"),
        ({"kind": "sample", "documents": 2.5}, r"corpus\.sources\.en\.documents: found 2\.5"),
    ],
)
def test_an_invalid_source_is_refused(source, message):
    with pytest.raises(ParamsError, match=message):
        parse(values(corpus={"sources": SOURCES | {"en": source}}), "params.yaml")


def test_unknown_languages_are_refused():
    with pytest.raises(ParamsError, match="unknown language 'xx'; allowed: af am"):
        parse(values(corpus={"sources": SOURCES | {"xx": {"kind": "sample"}}}), "params.yaml")
    with pytest.raises(ParamsError, match="the sample corpus has no 'it'"):
        parse(values(corpus={"sources": SOURCES | {"it": {"kind": "sample"}}}), "params.yaml")


def test_every_problem_is_reported_at_once():
    with pytest.raises(ParamsError) as refused:
        parse(values(replay={"rate": 2}, train={"steps": 0}), "params.yaml")
    assert len(str(refused.value).splitlines()) == 2


def test_a_problem_of_several_keys_is_reported_without_a_section():
    with pytest.raises(ParamsError, match=r"^params\.yaml: mer\.interval: 20 steps are more than the 10"):
        parse(values(train={"steps": 10}, arms=["mer"]), "params.yaml")


def test_a_folder_is_no_source(tmp_path):
    with pytest.raises(ParamsError, match=r"corpus\.sources\.en\.path: .* is a folder; name the files in it"):
        parse(values(corpus={"sources": SOURCES | {"en": {"kind": "local", "path": str(tmp_path)}}}), "params.yaml")


def test_numbers_are_read_as_yaml_1_2_has_them_too():
    written = yaml.safe_load("{learning_rate: 2e-3, min_learning_rate: 1.5E-4, epsilon: 1.0e-9}")
    train = parse(values(train=written), "p").train
    assert (train.learning_rate, train.min_learning_rate, train.epsilon) == (2e-3, 1.5e-4, 1e-9)


def test_a_duplicate_key_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("train: {steps: 3}\nreplay: {rate: 0}\ntrain: {batch_size: 2}\n")
    with pytest.raises(ParamsError, match=r"(?s)params\.yaml: .*duplicate key 'train'.*line 3"):
        load(tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match=r"Is a directory"):
        load(tmp_path)


# Ten values, ten lists of ten, and so on: a million with its aliases expanded.
BOMB = "a: &a [0,0,0,0,0,0,0,0,0,0]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{below}'] * 10)}]\n" for below, name in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "a: [", "- just\n- a list\n", "", BOMB, "a: &a [*a]", "a: &a {b: *a}", "a: " + "[" * 3000, "a: " + "9" * 5000,
        "a: 2024-99-99", "a: \x00", "a: &a !!set {*a}",
    ],
)  # fmt: skip
def test_files_that_hold_no_params_are_refused(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"params\.yaml"):
        load(tmp_path / "params.yaml")


@given(st.decimals("0", "0.999", places=3))
def test_the_rate_is_the_decimal_that_was_written(rate):
    written = yaml.safe_load(f"rate: {rate}")
    assert Fraction(str(parse(values(replay=written), "p").replay.rate)) == Fraction(rate)


def test_keys_that_belong_together_are_one_axis_of_a_sweep():
    sizes: list[dict[str, Any]] = [{"model.preset": "nano", "train.learning_rate": 0.004}, {"model.preset": "tiny"}]
    given = values(sweep={"size": sizes, "replay.rate": [0, 0.5]})
    params = parse(given, "p")
    assert grid(params.sweep) == [size | {"replay.rate": rate} for size in sizes for rate in (0, 0.5)]
    changed = point_params(given, grid(params.sweep)[1])
    assert (changed.model.preset, changed.train.learning_rate, float(changed.replay.rate)) == ("nano", 0.004, 0.5)


def test_sweeps_are_grids_of_valid_params():
    given = values(sweep={"replay.rate": [0, 0.5], "mer.step_size": [0.1, 1.0]})
    params = parse(given, "p")
    points = grid(params.sweep)
    assert points == [{"replay.rate": r, "mer.step_size": e} for r in (0, 0.5) for e in (0.1, 1.0)]
    changed = point_params(given, points[3])
    assert (float(changed.replay.rate), changed.mer.step_size, changed.sweep) == (0.5, 1.0, {})
    assert replace(changed, replay=params.replay, mer=params.mer, sweep=params.sweep) == params
