"""Datasets by name: what a source of kind hf needs to know of the paper's data and its open successors.

Revisions are commits that others pin in public, checked for nothing but that; a newer one is set by ``revision``.
"""

from __future__ import annotations

from typing import Any

# What FineWeb-2 calls a language: ISO 639-3 and script. It has no English, which FineWeb is.
SCRIPTS = {
    "ar": "arb_Arab", "cs": "ces_Latn", "da": "dan_Latn", "de": "deu_Latn", "el": "ell_Grek", "es": "spa_Latn",
    "fa": "fas_Arab", "fr": "fra_Latn", "hu": "hun_Latn", "id": "ind_Latn", "it": "ita_Latn", "ja": "jpn_Jpan",
    "nl": "nld_Latn", "pl": "pol_Latn", "pt": "por_Latn", "ru": "rus_Cyrl", "sv": "swe_Latn", "tr": "tur_Latn",
    "vi": "vie_Latn", "zh": "cmn_Hani",
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    # The Parquet form of DCLM-Baseline; the JSONL one keeps its ids in nested metadata. 27,938 files.
    "dclm": {
        "languages": ["en"],
        "dataset": "mlfoundations/dclm-baseline-1.0-parquet",
        "revision": "817d6752765f6a41261085171dd546b104f60626",
        "files": "filtered/**/*.parquet",
        "licence": "cc-by-4.0",
    },
    # The sample of 10 billion tokens; files: data/*/*.parquet has all of it, sample/100BT and 350BT are in between.
    "fineweb": {
        "languages": ["en"],
        "dataset": "HuggingFaceFW/fineweb",
        "revision": "9bb295ddab0e05d785b879661af7260fed5140fc",
        "files": "sample/10BT/*.parquet",
        "licence": "odc-by",
    },
    "fineweb-2": {
        "languages": list(SCRIPTS),
        "dataset": "HuggingFaceFW/fineweb-2",
        "revision": "af9c13333eb981300149d5ca60a8e9d659b276b9",
        "files": "data/{script}/train/*.parquet",
        "licence": "odc-by",
    },
    # OSCAR 23.01: gated, so it needs access and HF_TOKEN. No commit of it was found in public, hence no
    # revision here. Its ids are nested (warc_headers), so that documents are named by file and line.
    "oscar": {
        "dataset": "oscar-corpus/OSCAR-2301",
        "files": "{language}_meta/*.jsonl.zst",
        "text": "content",
        "licence": "cc0-1.0",
    },
    # 101 Billion Arabic Words (Aloui et al. 2024).
    "arabic-101b": {
        "languages": ["ar"],
        "dataset": "ClusterlabAi/101_billion_arabic_words_dataset",
        "revision": "d4e6ff07274ce7d4d7b61bbdf7469043fba121a1",
        "files": "data/train-*.parquet",
        "licence": "apache-2.0",
    },
    # ABEJA publishes on AWS (s3://abeja-cc-ja); this is a mirror on the hub by a third party, with the text alone.
    "abeja-cc-ja": {
        "languages": ["ja"],
        "dataset": "kajuma/ABEJA-CC-JA",
        "revision": "fecbcb63aa6772df386262ed934b3f0db23339fa",
        "files": "data/train-*.parquet",
        "text": "content",
        "licence": "pddl",
    },
}


def with_preset(language: str, source: dict[str, Any]) -> dict[str, Any]:
    """The source with its preset's values for the keys that it does not set. Other problems are left to validation."""
    if (preset := PRESETS.get(str(source.get("preset")))) is None:
        return source
    values = {key: value for key, value in preset.items() if key != "languages"}
    given = {key: value for key, value in source.items() if value not in (None, "")}
    languages = preset.get("languages", [language])
    if language not in languages and "files" not in given:
        raise ValueError(
            f"sources: {language}: preset {source['preset']!r} is known for {', '.join(languages)} only; "
            "for another language set files to the glob of its files"
        )
    values["files"] = values["files"].format(script=SCRIPTS.get(language, language), language=language)
    return values | given
