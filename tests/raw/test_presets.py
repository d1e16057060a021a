"""Presets of datasets are pinned or ask for a pin, and the example of a first real run can be run."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from palimpsest.errors import ParamsError
from palimpsest.params import load, parse
from palimpsest.params.presets import PRESETS, SCRIPTS

EXAMPLE = Path(__file__).parents[2] / "examples" / "fineweb.yaml"


def resolved(language: str, **source: Any) -> Any:
    values = {"languages": [language], "corpus": {"sources": {language: {"kind": "hf"} | source}}}
    return parse(values, "here").corpus.sources[language][0]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_pinned_or_asks_for_the_pin(preset: str) -> None:
    language = PRESETS[preset].get("languages", ["fr"])[0]
    if "revision" in PRESETS[preset]:
        found = resolved(language, preset=preset)
    else:
        with pytest.raises(ParamsError, match="revision must be a commit hash of 40 hex digits"):
            resolved(language, preset=preset)
        found = resolved(language, preset=preset, revision="a" * 40)
    assert re.fullmatch(r"[0-9a-f]{40}", found.revision)
    assert found.name == preset and found.licence and "{" not in found.files


def test_a_preset_knows_the_names_of_languages() -> None:
    assert resolved("de", preset="fineweb-2").files == "data/deu_Latn/train/*.parquet"
    assert resolved("ja", preset="oscar", revision="a" * 40).files == "ja_meta/*.jsonl.zst"
    for language, preset in (("en", "fineweb-2"), ("fr", "fineweb"), ("fr", "dclm")):
        with pytest.raises(ParamsError, match=f"{language}: preset '{preset}' is known for .* only; .*set files"):
            resolved(language, preset=preset)
    assert (
        resolved("ko", preset="fineweb-2", files="data/kor_Hang/train/*.parquet").dataset == "HuggingFaceFW/fineweb-2"
    )
    assert len(set(SCRIPTS.values())) == len(SCRIPTS)


def test_keys_override_the_preset() -> None:
    found = resolved("fr", preset="fineweb-2", revision="b" * 40, files="data/fra_Latn/test/*.parquet", licence="other")
    assert (found.revision, found.files, found.licence) == ("b" * 40, "data/fra_Latn/test/*.parquet", "other")


def needed_and_there(values: dict[str, Any]) -> tuple[int, float]:
    """New tokens of a stage, and the fewest that its source gives: 60 % kept, 4.2 bytes of text a token."""
    params = parse(values, "here")
    sources = [source for language in params.languages for source in params.corpus.sources[language]]
    size = [source.max_bytes for source in sources if source.max_bytes is not None]
    assert len(size) == len(sources)
    train = params.train
    return train.steps * train.batch_size * train.context_length, 0.6 * min(size) / 4.2


def test_the_example_repeats_no_text() -> None:
    load(EXAMPLE)
    needed, there = needed_and_there(yaml.safe_load(EXAMPLE.read_text()))
    assert 70_000_000 < needed < there


def test_the_three_edits_for_a_laptop() -> None:
    text = EXAMPLE.read_text()
    edits = {
        "600_000_000} # (1)": "40_000_000}",
        "preset: small # (2)": "preset: tiny #",
        "batch_size: 64 # (3)": "batch_size: 4 #",
    }
    for old, new in edits.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    values = yaml.safe_load(text)
    needed, there = needed_and_there(values)
    assert needed < there and {values["corpus"]["sources"][code]["max_bytes"] for code in ("en", "fr", "de")} == {
        40_000_000
    }
