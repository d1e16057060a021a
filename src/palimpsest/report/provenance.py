"""Where the page comes from: checkpoints, revisions on the hub, and parameters."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from palimpsest.evaluate.results.eval_all import EvalAll


def lineages(results: EvalAll) -> list[tuple[str, str, list[str]]]:
    """Arm, seed and last checkpoint, split at its folders so that a long path can break there."""
    return [
        (name, seed, chain[-1].split("/"))
        for name, arm in results.arms.items()
        for seed, chain in arm.lineages.items()
        if chain
    ]


def revisions(results: EvalAll) -> list[tuple[str, str]]:
    """Models and datasets of the hub that the params name, each with its revision."""
    model = results.params.get("model") or {}
    found = [(model.get("hub"), model.get("revision"))]
    sources = (results.params.get("corpus") or {}).get("sources") or {}
    listed = [source for given in sources.values() for source in given if isinstance(source, Mapping)]
    found += [(source.get("dataset"), source.get("revision")) for source in listed]
    return list(dict.fromkeys((str(name), str(revision)) for name, revision in found if name and revision))


def params(results: EvalAll) -> str:
    """The resolved params as YAML."""
    return yaml.safe_dump(dict(results.params), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
