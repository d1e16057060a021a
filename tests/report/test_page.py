"""The page as HTML: whole, closed to the network, with every number, and unmoved by odd input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import zstandard

from palimpsest.artifact import file_digest, write_manifest
from palimpsest.errors import ArtifactError
from palimpsest.report import history, inputs, page, results

_VOID = {"meta", "input", "br", "wbr", "link", "img", "hr"}
_FETCHING = {"src", "href", "srcset", "data", "poster", "action"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """A strict reader: every element must be closed by its own end tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def count(self, tag: str, **attributes: str) -> int:
        return sum(name == tag and attributes.items() <= found.items() for name, found in self.found)


SAMPLES = {"ar": {"language": [{"id": "a:1", "text": "HELLO <b>"}], "no_text": [{"id": "a:2", "text": ""}]}, "ja": {}}


def render(made, folder: Path) -> str:
    return page.render(replace(inputs.read(*made.write(folder), []), dropped=SAMPLES))


CASES = {
    "three languages": {},
    "three seeds": {"seeds": 3},
    "five languages": {"languages": ("en", "fr", "de", "ar", "ja"), "seeds": 3},
    "all arms": {"arms": ("sequential", "replay", "reptile", "mer", "joint")},
    "one language": {"languages": ("en",)},
    "one arm": {"arms": ("mer",)},
    "only joint": {"arms": ("joint",)},
    "unknown arms": {"arms": ("sequential", *(f"mer k={k}, my own notes on it" for k in range(8)))},
}


@pytest.mark.parametrize("case", CASES)
def test_is_well_formed_and_draws_every_chart(case: str, made: Callable, tmp_path: Path) -> None:
    it = made(**CASES[case])
    text = render(it, tmp_path)
    parsed = Page(text)
    staged, languages = [arm for arm in it.arms if arm != "joint"], len(it.languages)
    panels = languages - 1 + (languages > 2) if staged else 0
    maps, curves, plane = 2 * (len(it.arms) + 1), 2 * languages, 2 if staged else 0
    assert parsed.count("svg", **{"class": "chart"}) == maps + curves + panels + plane + 2  # and ledger, dropped
    assert len(text.encode()) < 700_000
    assert not re.search(r"(?i)\b(nan|none|inf)\b", text[text.index("<main>") : text.index("<details>")])


def test_nothing_is_fetched(made: Callable, tmp_path: Path) -> None:
    text = render(made(), tmp_path)
    parsed = Page(text)
    assert not [tag for tag, found in parsed.found if _FETCHING & found.keys()]
    assert not re.search(r"(?i)https?:|@import|url\((?!\"#)|//[a-z0-9-]+\.[a-z]", text)
    policy = next(found["content"] for tag, found in parsed.found if "http-equiv" in found)
    assert policy is not None and "default-src 'none'" in policy


@pytest.mark.parametrize("seeds", [1, 3])
def test_headline_table_has_every_number(seeds: int, made: Callable, tmp_path: Path) -> None:
    it = made(seeds=seeds)
    text = render(it, tmp_path)
    table = text[text.index('<table class="headline">') :]
    cells = Page(table[: table.index("</table>") + len("</table>")]).texts
    for arm in it.value["arms"].values():
        final = arm["loss"][arm["stages"][-1]]
        shown = [*final.values(), arm["retained_loss"], *([arm["learned_loss"]] if arm["learned_loss"] else [])]
        assert {f"{value['mean']:.3f}" for value in shown} <= set(cells)
        assert {f"{value['mean']:+.3f}".replace("-", "−") for value in arm["forgetting"].values()} <= set(cells)
        assert f"{arm['flops'] / it.value['arms']['sequential']['flops']:.2f}×" in cells
        spreads = {f"±{value['sd']:.3f}" for value in shown if value["sd"] is not None}
        assert spreads <= set(cells) and bool(spreads) == (seeds > 1)


def test_figures_say_their_seeds_or_their_interval(made: Callable, tmp_path: Path) -> None:
    """Three seeds: how many, beside each arm. One: the bootstrap interval below the loss, and where the pointer is."""
    one, three = (made(seeds=seeds) for seeds in (1, 3))
    loss = one.value["arms"]["mer"]["loss"]["de"]["fr"]["mean"]
    text = render(one, tmp_path)
    assert f"<small>{loss - 0.0421:.2f}–{loss + 0.0537:.2f}</small>" in text and " seeds</small>" not in text
    tip = f"mer, after de: {loss:.3f} nats per token (95 % over documents: {loss - 0.0421:.3f}–{loss + 0.0537:.3f})"
    assert f'data-tip="{tip} on French"' in text
    text = render(three, tmp_path)
    assert text.count("<small>3 seeds</small>") == 4 and "over documents:" not in text


def test_stages_that_replay_are_shaded_and_their_rates_said(made: Callable, tmp_path: Path) -> None:
    it = made()
    shades = re.findall(
        r'<rect x="([\d.]+)" y="34" width="([\d.]+)" height="176" class="replay-shade"', render(it, tmp_path)
    )
    by_stage, by_tokens = shades[:2], shades[6:8]  # three panels each
    assert [tuple(map(float, shade)) for shade in by_stage] == [(114, 74), (188, 74)]
    expected = [(40 + 222 * 150 / 550, 222 * 200 / 550), (40 + 222 * 350 / 550, 222 * 200 / 550)]  # steps of the stages
    for shade, place in zip(by_tokens, expected, strict=True):
        assert tuple(map(float, shade)) == pytest.approx(place, abs=0.02)
    assert "replayed text is 25\u202f% of each batch" in render(it, tmp_path)
    for path, run in it.runs.items():
        if run["replay"] and "/de" in path:
            run["replay"] = {"rate": "0.5"}
    assert "replayed text is fr 25\u202f%, de 50\u202f% of each batch" in render(it, tmp_path)
    without = made(arms=("sequential", "reptile"))
    assert "replayed text is" not in render(without, tmp_path) and 'class="replay-shade"' not in render(
        without, tmp_path
    )


def test_provenance_names_files_revisions_and_commands(made: Callable, tmp_path: Path) -> None:
    it = made()
    it.value["params"] |= {"model": {"hub": "some/model", "revision": "a" * 40}}
    it.value["params"] |= {
        "corpus": {"sources": {"en": [{"kind": "hf", "dataset": "some/data", "revision": "b" * 40}]}}
    }
    eval_all, curves = it.write(tmp_path)
    page.build(eval_all, curves, [], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert file_digest(eval_all) in text and file_digest(curves) in text
    assert f"<li>some/model <code>{'a' * 40}</code></li>" in text and f"some/data <code>{'b' * 40}" in text
    assert "<code>snakemake --cores all</code>" in text and "scaling.json" not in text


def test_best_of_a_column_is_the_lowest_but_never_joint(made: Callable, tmp_path: Path) -> None:
    it = made()
    for language in it.languages:
        it.value["arms"]["joint"]["loss"]["joint"][language]["mean"] = 0.5
    marked = re.findall(r'<td class="num best">([^<]*)', render(it, tmp_path))
    arms = [arm for name, arm in it.value["arms"].items() if name != "joint"]
    expected = [min(arm["loss"]["de"][language]["mean"] for arm in arms) for language in it.languages]
    assert {f"{value:.3f}" for value in expected} <= set(marked) and "0.500" not in marked


def test_hostile_names_stay_text(made: Callable, tmp_path: Path) -> None:
    it = made(languages=("en", HOSTILE), arms=("sequential", HOSTILE))
    it.value["params"] = {"note": HOSTILE, "arms": []}
    it.value["data"]["en"]["dropped"] = {HOSTILE: 5}
    it.value["tasks"] = {HOSTILE: {"language": HOSTILE, "metric": HOSTILE, "chance": 0.5}}
    for arm in it.value["arms"].values():
        arm["tasks"] = {arm["stages"][-1]: {HOSTILE: {"mean": 0.4, "sd": None, "n": 1}}}
    for run in it.runs.values():
        run["samples"] = {"en": [{"prompt": HOSTILE, "text": HOSTILE}]}
    for arm in it.value["arms"].values():
        arm["lineages"][HOSTILE] = [f"a/{HOSTILE * 20}"]
    parsed = Page(render(it, tmp_path))
    assert parsed.count("script") == 1 and parsed.count("img") == 0
    assert not [found for _, found in parsed.found if any(name.startswith("on") for name in found)]
    assert any("alert(1)" in text for text in parsed.texts)


def _without(*path: str) -> Callable[[dict], None]:
    def remove(value: dict) -> None:
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return remove


@pytest.mark.parametrize(
    "path",
    [
        ("data",),
        ("runs",),
        ("params",),
        ("sample",),
        ("data", "fr"),
        ("data", "en", "dropped"),
        ("data", "en", "train"),
        ("arms", "mer", "tokens"),
        ("arms", "mer", "forgetting"),
        ("arms", "mer", "bits_per_byte"),
        ("arms", "mer", "lineages"),
        ("arms", "replay", "loss", "de"),
        ("arms", "sequential"),
        ("tasks",),
        ("arms", "mer", "tasks"),
    ],
    ids="/".join,
)
def test_missing_pieces_are_left_out(path: tuple[str, ...], made: Callable, tmp_path: Path) -> None:
    it = made()
    _without(*path)(it.value)
    assert Page(render(it, tmp_path)).texts


def test_missing_curves_are_said(made: Callable, tmp_path: Path) -> None:
    it = made()
    it.rows = []
    assert "No points were logged" in render(it, tmp_path)
    (tmp_path / "plots" / "loss_curves.csv").write_text("\n")
    assert history.read(tmp_path / "plots" / "loss_curves.csv") == []


def corpus(folder: Path) -> Path:
    """A corpus folder with eight dropped documents of one reason."""
    lines = [{"id": f"web/a:{at}", "source": "web", "reason": "html", "text": f"<p>\u2028{at}" * 99} for at in range(8)]
    folder.mkdir(exist_ok=True)
    dropped = folder / "dropped.jsonl.zst"
    dropped.write_bytes(zstandard.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    write_manifest(folder, stage="corpus", params={}, inputs={}, files=[dropped], counts={})
    return folder


def test_dropped_documents_are_shown_as_text(made: Callable, tmp_path: Path) -> None:
    eval_all, curves = made().write(tmp_path)
    page.build(eval_all, curves, [corpus(tmp_path / "fr")], tmp_path / "page.html")
    parsed = Page((tmp_path / "page.html").read_text())
    shown = [text for text in parsed.texts if text.startswith("<p> ")]
    assert len(shown) == 5 and all(len(text) <= 241 and text.endswith("…") for text in shown)
    assert "html" in parsed.texts
    text = render(made(), tmp_path)
    assert "(empty)" in text and "HELLO &lt;b&gt;" in text and "Dropped in Japanese" not in text


def test_build_is_deterministic_and_whole(made: Callable, tmp_path: Path) -> None:
    eval_all, curves = made(seeds=3).write(tmp_path)
    for name in ("a.html", "b.html"):
        page.build(eval_all, curves, [corpus(tmp_path / "fr")], tmp_path / "out" / name)
    pages = [(tmp_path / "out" / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1] and pages[0].rstrip().endswith(b"</html>")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.html", "b.html"]
    assert str(tmp_path).encode() not in pages[0]


def test_wrong_inputs_are_named(made: Callable, tmp_path: Path) -> None:
    eval_all, curves = made().write(tmp_path)
    with pytest.raises(ArtifactError, match=r"nothing\.csv: no such file"):
        page.build(eval_all, tmp_path / "nothing.csv", [], tmp_path / "out.html")
    lines = curves.read_text().splitlines()
    curves.write_text("\n".join([*lines[:4], "replay,0,en,en,x,1,2", *lines[4:]]))
    with pytest.raises(ArtifactError, match=r"loss_curves\.csv:5: expected"):
        page.build(eval_all, curves, [corpus(tmp_path / "fr")], tmp_path / "out.html")
    eval_all.write_text('{"format": "palimpsest.sweep/1"}')
    with pytest.raises(ArtifactError, match=r"eval_all\.json: format is 'palimpsest.sweep/1'"):
        page.build(eval_all, curves, [corpus(tmp_path / "fr")], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_arms_languages_and_tasks_keep_the_order_of_the_params(made: Callable, tmp_path: Path) -> None:
    it = made(languages=("fr", "en", "de"))
    read = results.read(it.write(tmp_path)[0])
    assert [arm.name for arm in read.arms] == ["sequential", "replay", "mer", "joint"]
    assert list(read.arms[0].forgetting) == ["fr", "en"] and list(read.data) == ["fr", "en", "de"]
    it.value["params"]["evaluate"] = {"tasks": ["pubmedqa", "cloze_en", "mine/own.yaml"]}
    read = results.read(it.write(tmp_path)[0])
    assert [task.name for task in read.tasks] == ["pubmedqa", "cloze_en", "xwinograd_fr"]
