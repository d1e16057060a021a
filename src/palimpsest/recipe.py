"""What every stage is asked to do: the part of params.yaml that shapes it, and nothing else.

A spec is plain JSON. It is what a rule hands to its stage, what the manifest keeps, and what Snakemake compares to
see whether a stage must run again, so an unrelated edit reruns nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palimpsest.artifact import file_digest, fingerprint
from palimpsest.params import Params, expand

# Raised when a stage's output changes meaning, since no tool sees a change of code behind a command line.
REVISIONS = {"raw": 1, "corpus": 1, "tokenizer": 1, "tokens": 1, "replay": 1, "train": 1, "evaluate": 1, "report": 1}

Spec = dict[str, Any]


def placeless(source: Spec) -> Spec:
    """A source without where its files lie on this machine; a dataset on the hub is a name and stays."""
    local = "dataset" in source and Path(source["dataset"]).is_dir()
    return {key: value for key, value in source.items() if key != "path" and not (key == "dataset" and local)}


def raw(params: Params, language: str, inventory: str | None) -> Spec:
    """``inventory``: a hash of local files' names, sizes and contents, so that a changed file is a changed spec."""
    source = params.corpus.sources[language].model_dump(mode="json")
    return {"language": language, "source": source, "inventory": inventory, "revision": REVISIONS["raw"]}


def corpus(params: Params, language: str) -> Spec:
    """Cleaning reads the raw folder; of the source it needs only where local files lie and their columns."""
    settings = params.corpus.model_dump(mode="json", exclude={"sources"})
    source = params.corpus.sources[language].model_dump(mode="json")
    return {"language": language, "source": source, "corpus": settings, "revision": REVISIONS["corpus"]}


def tokenizer(params: Params) -> Spec:
    """A given tokenizer file is told by its contents, so that one replaced in its place is seen."""
    settings = params.tokenizer.model_dump(mode="json")
    if params.tokenizer.path:
        settings["content"] = file_digest(Path(expand(params.tokenizer.path)))
    return {"languages": sorted(params.languages), "tokenizer": settings, "revision": REVISIONS["tokenizer"]}


def tokens(language: str) -> Spec:
    return {"language": language, "revision": REVISIONS["tokens"]}


def evaluation(params: Params) -> Spec:
    """``bootstrap`` belongs to gathering."""
    return {
        "languages": params.languages,
        "evaluate": params.evaluate.model_dump(mode="json", exclude={"bootstrap"}),
        "context_length": params.train.context_length,
        "threads": params.train.threads,
        "revision": REVISIONS["evaluate"],
    }


def report(params: Params) -> Spec:
    """The resolved params, without the places of the user's files."""
    values = params.model_dump(mode="json")
    values["corpus"]["sources"] = {
        language: placeless(source)
        for language, source in values["corpus"]["sources"].items()
        if language in params.languages
    }
    values["tokenizer"].pop("path")
    return {"params": values, "revision": REVISIONS["report"]}


def data_fingerprints(params: Params, inventories: dict[str, str | None]) -> dict[str, str]:
    """By language, a hash of everything that shapes its tokens: known before any of it is made."""
    cleaned = {}
    for language in params.languages:
        asked = [raw(params, language, inventories.get(language)), corpus(params, language)]
        if inventories.get(language):
            # Where the files lie does not shape what is in them; their inventory does.
            for spec in asked:
                spec["source"] = placeless(spec["source"])
        cleaned[language] = fingerprint(asked)
    given = tokenizer(params)
    given["tokenizer"].pop("path")
    shared = fingerprint([given, [cleaned[language] for language in sorted(cleaned)]])
    return {language: fingerprint([shared, cleaned[language], tokens(language)]) for language in params.languages}
