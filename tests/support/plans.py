"""Plans of made-up params."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from palimpsest.plan.build_plan import build_plan
from palimpsest.plan.run_plan import RunPlan, StageCost

SAMPLE_SOURCES = {language: {"kind": "sample"} for language in ("en", "fr", "de")}
# Four arms over three languages of the sample corpus.
BASE: dict[str, Any] = {
    "languages": ["en", "fr", "de"],
    "arms": ["sequential", "replay", "mer", "joint"],
    "corpus": {"sources": SAMPLE_SOURCES},
}


def plan_of(
    folder: Path, values: Mapping[str, Any], gpu: str = "H100", gpus: int | None = None, mfu: float = 0.4
) -> RunPlan:
    """The plan of a params file with these contents, on the disk of ``folder``."""
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    return build_plan(file, gpu, gpus, mfu, folder)


def by_label(plan: RunPlan) -> dict[str, StageCost]:
    """Stages by their path without fingerprints."""
    return {"/".join(part.rpartition(".")[0] for part in stage.lineage.split("/")[1:]): stage for stage in plan.stages}
