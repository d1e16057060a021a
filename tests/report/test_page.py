"""The page as HTML: complete, closed to the network, with every number, and unmoved by odd input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.made_analyses import MadeAnalyses
from support.made_results import MadeResults
from support.report_page import Page, charts, own_parts, render, table

from palimpsest.artifact import file_digest, write_json, write_manifest
from palimpsest.errors import ArtifactError
from palimpsest.report.build_report import build_report

_FETCHING = {"src", "srcset", "data", "poster", "action"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
SAMPLES = {"ar": {"language": [{"id": "a:1", "text": "HELLO <b>"}], "no_text": [{"id": "a:2", "text": ""}]}, "ja": {}}
CASES: dict[str, dict[str, Any]] = {
    "three languages": {},
    "three seeds": {"seeds": 3},
    "five languages": {"languages": ("en", "fr", "de", "ar", "ja"), "seeds": 3},
    "all arms": {"arms": ("sequential", "replay", "reptile", "mer", "joint")},
    "one language": {"languages": ("en",)},
    "one arm": {"arms": ("mer",)},
    "only joint": {"arms": ("joint",)},
    "unknown arms": {"arms": ("sequential", *(f"mer k={k}, my own notes on it" for k in range(8)))},
}
_QUICK_CASES = ("five languages", "only joint")


@pytest.mark.parametrize(
    "case",
    [case if case in _QUICK_CASES else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
def test_is_well_formed_and_has_every_chart(case: str, tmp_path: Path) -> None:
    made = MadeResults(**CASES[case])
    text = own_parts(render(made, tmp_path))
    parsed, found = Page(text), charts(text)
    expected = {"loss-matrix-nats-per-token", "loss-matrix-bits-per-byte", "loss-by-stages", "loss-by-tokens"}
    expected |= {"training-tokens", "dropped-documents"}
    if any(arm != "joint" for arm in made.arms):
        expected |= {"stability-plasticity"} | ({"forgetting"} if len(made.languages) > 1 else set())
    assert set(found) == expected and all(chart["table"] for chart in found.values())
    assert {tag["data-chart"] for _, tag in parsed.found if "data-chart" in tag} == expected
    assert parsed.count("p", **{"class": "save"}) == len(expected)
    assert not re.search(r"(?i)\b(nan|none|inf)\b", text[text.index("<main>") : text.index("<details>")])
    sections = [tag["id"] for name, tag in parsed.found if name == "section"]
    assert [tag["href"] for name, tag in parsed.found if name == "a"] == [f"#{section}" for section in sections]


def test_nothing_is_fetched_or_evaluated_and_the_page_is_small(tmp_path: Path) -> None:
    text = render(MadeResults(languages=("en", "fr", "de", "ar", "ja"), seeds=3), tmp_path)
    assert len(text.encode()) < 5_000_000
    parsed, own = Page(text), own_parts(text)
    assert not [tag for tag, found in parsed.found if _FETCHING & found.keys()]
    assert all(link.startswith("#") for _, found in parsed.found if (link := found.get("href")))
    assert not re.search(r"(?i)https?:|@import|(?<!Object)url\((?!#)|//[a-z0-9-]+\.[a-z]", own)
    policy = next(found["content"] for tag, found in parsed.found if "http-equiv" in found)
    assert policy is not None and "default-src 'none'" in policy and "unsafe-eval" not in policy


@pytest.mark.slow
def test_a_large_experiment_is_a_page_of_a_few_megabytes(tmp_path: Path) -> None:
    """Ten arms over five languages, each validated 5,000 times, with the cosines of eleven groups of layers."""
    languages, arms = ("en", "fr", "de", "ar", "ja"), ("sequential", "replay", *(f"mer{k}" for k in range(8)))
    made = MadeResults(languages=languages, arms=arms, seeds=1)
    steps = [(stage, at * 1000 + step) for at, stage in enumerate(languages) for step in range(1, 1001)]
    made.rows = [
        {"arm": arm, "seed": 0, "stage": stage, "language": language, "step": step, "tokens": step * 4096, "loss": 3.21}
        for arm in arms
        for language in languages
        for stage, step in steps
    ]
    cosines = ["arm,seed,stage,step,tokens,at,group,cosine"]
    for group in ("all", *(f"blocks {at}" for at in range(10))):
        cosines += [
            f"{arm},0,{stage},{step},{step},step,{group},0.123456" for arm in arms for stage, step in steps[::5]
        ]
    (tmp_path / "alignment.csv").write_text("\n".join(cosines))
    build_report(*made.write(tmp_path), [], tmp_path / "page.html", alignment=tmp_path / "alignment.csv")
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


@pytest.mark.parametrize("seeds", [1, 3])
def test_headline_table_has_every_number(seeds: int, tmp_path: Path) -> None:
    made = MadeResults(seeds=seeds)
    cells = Page(table(render(made, tmp_path), "headline")).texts
    for arm in made.value["arms"].values():
        final = arm["loss"][arm["stages"][-1]]
        shown = [*final.values(), arm["retained_loss"], *([arm["learned_loss"]] if arm["learned_loss"] else [])]
        assert {f"{value['mean']:.3f}" for value in shown} <= set(cells)
        assert {f"{value['mean']:+.3f}".replace("-", "−") for value in arm["forgetting"].values()} <= set(cells)
        assert f"{arm['flops'] / made.value['arms']['sequential']['flops']:.2f}×" in cells
        spreads = {f"±{value['sd']:.3f}" for value in shown if value["sd"] is not None}
        assert spreads <= set(cells) and bool(spreads) == (seeds > 1)


def test_figures_say_their_seeds_or_their_interval(tmp_path: Path) -> None:
    """Three seeds: how many, beside each arm. One: the bootstrap interval below the loss, and where the pointer is."""
    one, three = (MadeResults(seeds=seeds) for seeds in (1, 3))
    loss = one.value["arms"]["mer"]["loss"]["de"]["fr"]["mean"]
    text = render(one, tmp_path)
    assert f"<small>{loss - 0.0421:.2f}–{loss + 0.0537:.2f}</small>" in text and " seeds</small>" not in text
    cells = charts(text)["loss-matrix-nats-per-token"]["table"]
    (cell,) = (row for row in cells if (row["arm"], row["stage"], row["language"]) == ("mer", "de", "fr"))
    assert (cell["loss"], cell["ci95_low"], cell["ci95_high"]) == pytest.approx(
        (loss, loss - 0.0421, loss + 0.0537), abs=1e-4
    )
    text = render(three, tmp_path)
    assert text.count("<small>3 seeds</small>") == 4
    assert not any("ci95_low" in row for row in charts(text)["loss-matrix-nats-per-token"]["table"])


def test_replay_rates_are_said(tmp_path: Path) -> None:
    made = MadeResults()
    assert "replayed text is 25\u202f% of each batch" in render(made, tmp_path)
    for path, run in made.runs.items():
        if run["replay"] and "/de" in path:
            run["replay"] = run["replay"] | {"rate": "0.5"}
    assert "replayed text is fr 25\u202f%, de 50\u202f% of each batch" in render(made, tmp_path)
    assert "replayed text is" not in render(MadeResults(arms=("sequential", "reptile")), tmp_path)


def test_provenance_names_files_revisions_and_commands(tmp_path: Path) -> None:
    made = MadeResults()
    made.value["params"] |= {"model": {"hub": "some/model", "revision": "a" * 40}}
    made.value["params"] |= {
        "corpus": {"sources": {"en": [{"kind": "hf", "dataset": "some/data", "revision": "b" * 40}]}}
    }
    eval_all, curves = made.write(tmp_path)
    build_report(eval_all, curves, [], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert file_digest(eval_all) in text and file_digest(curves) in text
    assert f"<li>some/model <code>{'a' * 40}</code></li>" in text and f"some/data <code>{'b' * 40}" in text
    assert "<code>snakemake --cores all</code>" in text and "scaling.json" not in text


def _hostile() -> MadeResults:
    made = MadeResults(languages=("en", HOSTILE), arms=("sequential", HOSTILE))
    made.value["params"] = {"note": HOSTILE, "arms": []}
    made.value["data"]["en"]["dropped"] = {HOSTILE: 5}
    made.value["data"]["en"]["sources"]["wiki"]["licence"] = HOSTILE
    made.value["tasks"] = {HOSTILE: {"language": HOSTILE, "metric": HOSTILE, "chance": 0.5}}
    for arm in made.value["arms"].values():
        arm["tasks"] = {arm["stages"][-1]: {HOSTILE: {"mean": 0.4, "sd": None, "n": 1}}}
    for run in made.runs.values():
        run["samples"] = {"en": [{"prompt": HOSTILE, "text": HOSTILE}]}
    return made


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    plain = Page(render(MadeResults(), tmp_path))
    parsed = Page(render(_hostile(), tmp_path))
    assert parsed.count("script") == plain.count("script") == 3 and parsed.count("img") == 0
    assert not [found for _, found in parsed.found if any(name.startswith("on") for name in found)]
    assert any("alert(1)" in text for text in parsed.texts)


def test_hostile_names_in_the_analyses_stay_text_and_captions_are_numbered(tmp_path: Path) -> None:
    value = MadeAnalyses.scaling()
    for entry in value["points"] + value["fits"] + value["exchange"]:
        entry["arm"] = HOSTILE if entry["arm"] == "mer" else entry["arm"]
        entry |= {"why": HOSTILE} if "why" in entry else {}
    write_json(tmp_path / "scaling.json", value)
    alignment = MadeAnalyses.write_alignment(tmp_path)
    alignment.write_text(alignment.read_text().replace("blocks 1-2", HOSTILE.replace('"', "")))
    build_report(*MadeResults().write(tmp_path), [], tmp_path / "page.html", alignment, tmp_path / "scaling.json")
    text = (tmp_path / "page.html").read_text()
    assert Page(text).count("script") == 3 and Page(text).count("img") == 0
    captions = re.findall(r"<figcaption><b>((?:Figure|Table) \d+)\.</b>", text)
    for kind, number in (("Figure", 10), ("Table", 7)):
        assert [name for name in captions if name.startswith(kind)] == [f"{kind} {n + 1}" for n in range(number)]


@pytest.mark.parametrize(
    "path", [("runs",), ("arms", "mer", "tokens"), ("data", "en", "train"), ("sample",)], ids="/".join
)
def test_a_missing_key_is_named(path: tuple[str, ...], tmp_path: Path) -> None:
    made = MadeResults()
    part = made.value
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    with pytest.raises(ArtifactError, match=rf"eval_all\.json: {re.escape('.'.join(path))}: missing key"):
        render(made, tmp_path)


@pytest.mark.parametrize("key", ["data", "tasks"])
def test_empty_parts_are_left_out(key: str, tmp_path: Path) -> None:
    made = MadeResults()
    made.value[key] = {}
    for arm in made.value["arms"].values():
        arm["tasks"] = {}
    text = render(made, tmp_path)
    assert Page(text).texts and ("The text</h2>" in text) == (key != "data") and "Zero-shot" not in text


def test_missing_curves_are_said(tmp_path: Path) -> None:
    made = MadeResults()
    made.rows = []
    text = render(made, tmp_path)
    assert "No points were logged" in text and "loss-by-stages" not in charts(text)


@pytest.mark.parametrize(
    ("argument", "heading"), [("alignment", "Do the gradients agree"), ("scaling", "Replay or a larger model")]
)
def test_an_analysis_has_a_section_only_with_its_file(argument: str, heading: str, tmp_path: Path) -> None:
    eval_all, curves = MadeResults(arms=("sequential", "replay")).write(tmp_path)
    build_report(eval_all, curves, [], tmp_path / "without.html")
    assert heading not in (tmp_path / "without.html").read_text()
    write = MadeAnalyses.write_alignment if argument == "alignment" else MadeAnalyses.write_scaling
    build_report(eval_all, curves, [], tmp_path / "with.html", **{argument: write(tmp_path)})
    text = (tmp_path / "with.html").read_text()
    assert heading in text
    assert ('data-toggle="2"' in text) == (argument == "scaling")  # mer is swept, though it is not compared


def corpus(folder: Path) -> Path:
    """A corpus folder with eight dropped documents of one reason, and one of blanks of another."""
    lines = [{"id": f"web/a:{at}", "source": "web", "reason": "html", "text": f"<p>\u2028{at}" * 99} for at in range(8)]
    lines.append({"id": "web/b:0", "source": "web", "reason": "too short", "text": " \n \u200b"})
    folder.mkdir(exist_ok=True)
    dropped = folder / "dropped.jsonl.zst"
    dropped.write_bytes(zstandard.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    write_manifest(folder, stage="corpus", params={}, inputs={}, files=[dropped], counts={})
    return folder


def test_dropped_documents_are_shown_as_text(tmp_path: Path) -> None:
    eval_all, curves = MadeResults().write(tmp_path)
    build_report(eval_all, curves, [corpus(tmp_path / "fr")], tmp_path / "page.html")
    parsed = Page((tmp_path / "page.html").read_text())
    shown = [text for text in parsed.texts if text.startswith("<p> ")]
    assert len(shown) == 5 and all(len(text) <= 241 and text.endswith("…") for text in shown)
    assert "html" in parsed.texts and "␣↵␣‹U+200B›" in parsed.texts
    text = render(MadeResults(), tmp_path, SAMPLES)
    assert "(empty)" in text and "HELLO &lt;b&gt;" in text and "Dropped in Japanese" not in text


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    eval_all, curves = MadeResults(seeds=3).write(tmp_path)
    analyses = MadeAnalyses.write_alignment(tmp_path, seeds=3), MadeAnalyses.write_scaling(tmp_path)
    for name in ("a.html", "b.html"):
        build_report(eval_all, curves, [corpus(tmp_path / "fr")], tmp_path / "out" / name, *analyses)
    pages = [(tmp_path / "out" / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1] and pages[0].rstrip().endswith(b"</html>")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.html", "b.html"]
    assert str(tmp_path).encode() not in pages[0]


def test_wrong_inputs_are_named(tmp_path: Path) -> None:
    eval_all, curves = MadeResults().write(tmp_path)
    with pytest.raises(ArtifactError, match=r"nothing\.csv: no such file"):
        build_report(eval_all, tmp_path / "nothing.csv", [], tmp_path / "out.html")
    lines = curves.read_text().splitlines()
    curves.write_text("\n".join([*lines[:4], "replay,0,en,en,x,1,2", *lines[4:]]))
    with pytest.raises(ArtifactError, match=r"loss_curves\.csv:5: expected"):
        build_report(eval_all, curves, [corpus(tmp_path / "fr")], tmp_path / "out.html")
    eval_all.write_text('{"format": "palimpsest.sweep/1"}')
    with pytest.raises(ArtifactError, match=r"eval_all\.json: format is 'palimpsest.sweep/1'"):
        build_report(eval_all, curves, [corpus(tmp_path / "fr")], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()
