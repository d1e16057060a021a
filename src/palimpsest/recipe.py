"""What every stage is asked to do: the part of params.yaml that shapes it, and nothing else.

A spec is plain JSON. It is what a rule hands to its stage, what the manifest keeps, and what Snakemake compares to
see whether a stage must run again, so an unrelated edit reruns nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palimpsest.artifact import file_digest, fingerprint
from palimpsest.params import Params
from palimpsest.params.training import SHAPES_NOTHING
from palimpsest.paths import expand

# Raised when a stage's output changes meaning, since no tool sees a change of code behind a command line.
REVISIONS = {
    "raw": 2,
    "corpus": 2,
    "tokenizer": 2,
    "tokens": 2,
    "replay": 2,
    "train": 4,
    "evaluate": 2,
    "tasks": 2,
    "sweep": 1,
    "scaling": 2,
    "report": 4,
}

Spec = dict[str, Any]


# What of a source only the mixture of token shards looks at.
_MIXTURE = {"weight", "max_tokens"}
_TASKS = {"tasks", "task_data", "task_source", "task_limit"}


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Hashes of files outside the project that a language is made from: names, sizes and contents.

    ``sources``: by name of the source; ``evaluation``: of the sets that decontamination looks into.
    """

    sources: dict[str, str] = field(default_factory=dict)
    evaluation: str | None = None


Inventories = Mapping[str, Inventory]


def placeless(spec: Spec) -> Spec:
    """A spec without where files lie on this machine; a dataset on the hub is a name and stays."""
    spec = copy.deepcopy(spec)
    spec.get("model", {}).pop("path", None)
    for source in spec.get("sources", []):
        source.pop("path", None)
        if "dataset" in source and Path(source["dataset"]).is_dir():
            del source["dataset"]
    if spec.get("corpus", {}).get("decontamination"):
        del spec["corpus"]["decontamination"]["paths"]
    return spec


def raw(params: Params, language: str, inventory: Inventory) -> Spec:
    """``inventory``, so that a changed file is a changed spec."""
    return {
        "language": language,
        "sources": _sources(params, language, exclude=_MIXTURE),
        "inventory": inventory.sources,
        "revision": REVISIONS["raw"],
    }


def corpus(params: Params, language: str, inventory: Inventory) -> Spec:
    """Cleaning reads the raw folder; of the sources it needs where local files lie, their columns and quotas."""
    shared = params.corpus.model_dump(include={"validation_fraction", "shard_mb", "on_bad_file"})
    return {
        "language": language,
        "sources": _sources(params, language, exclude={*_MIXTURE, "licence", "origin"}),
        "corpus": params.corpus.cleaning(language) | shared,
        "evaluation": inventory.evaluation,
        "revision": REVISIONS["corpus"],
    }


def _sources(params: Params, language: str, exclude: set[str]) -> list[Spec]:
    return [source.model_dump(mode="json", exclude=exclude) for source in params.corpus.sources[language]]


def tokenizer(params: Params) -> Spec:
    """A given tokenizer file is told by its contents, so that one replaced in its place is seen."""
    settings = params.tokenizer.model_dump(mode="json")
    if params.tokenizer.path:
        settings["content"] = file_digest(Path(expand(params.tokenizer.path)))
    return {"languages": sorted(params.languages), "tokenizer": settings, "revision": REVISIONS["tokenizer"]}


def tokens(params: Params, language: str) -> Spec:
    mixture = {source.name: source.model_dump(include=_MIXTURE) for source in params.corpus.sources[language]}
    return {"language": language, "sources": mixture, "revision": REVISIONS["tokens"]}


def evaluation(params: Params) -> Spec:
    """``bootstrap`` belongs to gathering; tasks are asked apart."""
    return {
        "languages": params.languages,
        "evaluate": params.evaluate.model_dump(mode="json", exclude={"bootstrap", *_TASKS}),
        "context_length": params.train.context_length,
        "threads": params.train.threads,
        "revision": REVISIONS["evaluate"],
    }


def sample_sources(params: Params) -> dict[str, str]:
    """By language, the name of its source of kind sample, where it has one."""
    return {
        language: str(source.name)
        for language in params.languages
        for source in params.corpus.sources[language]
        if source.kind == "sample"
    }


def tasks(params: Params, described: list[Spec]) -> Spec:
    """Zero-shot tasks, the same for every checkpoint. ``described``: what evaluate.task_registry says of each of them.

    ``samples``: the languages whose sample corpus is asked about, and the source's name.
    """
    asked = {entry["sample"] for entry in described}
    return {
        "tasks": described,
        "samples": {language: name for language, name in sample_sources(params).items() if language in asked},
        "data_folder": params.evaluate.task_data,
        "source": params.evaluate.task_source,
        "limit": params.evaluate.task_limit,
        "batch_size": params.evaluate.batch_size,
        "threads": params.train.threads,
        "revision": REVISIONS["tasks"],
    }


def report(params: Params) -> Spec:
    """The resolved params, without the places of the user's files."""
    values = placeless(params.model_dump(mode="json", exclude={"train": SHAPES_NOTHING}))
    corpus = values["corpus"]
    corpus["sources"] = {
        language: placeless({"sources": corpus["sources"][language]})["sources"] for language in params.languages
    }
    values["tokenizer"].pop("path")
    values["evaluate"].pop("task_data")
    values["evaluate"]["tasks"] = [Path(task).stem for task in params.evaluate.tasks]
    return {"params": values, "revision": REVISIONS["report"]}


def data_fingerprints(params: Params, inventories: Inventories) -> dict[str, str]:
    """By language, a hash of everything that shapes its tokens: known before any of it is made.

    Where local files lie does not shape what is in them; their inventory does.
    """
    cleaned = {
        language: fingerprint([placeless(make(params, language, inventories[language])) for make in (raw, corpus)])
        for language in params.languages
    }
    given = tokenizer(params)
    given["tokenizer"].pop("path")
    shared = fingerprint([given, [cleaned[language] for language in sorted(cleaned)]])
    return {
        language: fingerprint([shared, cleaned[language], tokens(params, language)]) for language in params.languages
    }
