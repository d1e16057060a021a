"""A sweep in which replay retains as much as a model 1.7 times as large, and what its scaling analysis says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from palimpsest.artifact import write_json
from palimpsest.evaluate.scaling_analysis import analyse_scaling

SIZES = (2_000_000, 6_000_000, 30_000_000)
TOKENS = 1e6  # new ones, of every stage
GROWTH = 1.7


def run(arm: str, size: int, seed: int, rates: list[float], accounting: str = "add") -> dict[str, Any]:
    """An entry of sweep.json. ``rates``: of the stages after the first."""
    mean = sum(rates) / len(rates)
    paid = sum(1 / (1 - rate) if accounting == "add" else 1.0 for rate in rates)
    loss = 9 * (size * (GROWTH if mean else 1)) ** -0.05
    return {
        "lineage": f"{size}-s{seed}/{arm}{rates}", "retained_loss": loss, "learned_loss": loss, "forgetting": {},
        # The seeds differ by a step or so.
        "flops": round(size * TOKENS * (1 + paid) * (1 + seed / 100)),
        "parameters": int(size / 6), "flops_per_token": size,
        "rate": mean, "accounting": accounting if mean else None,
    }  # fmt: skip


def replay_costs(
    folder: Path, rates: list[float], accounting: str = "add", sizes_without_replay: tuple[int, ...] = SIZES
) -> dict[int, float]:
    """Write sweep.json and scaling.json, check the growth, and return the cost of replay by size."""
    points = []
    for size in dict.fromkeys(SIZES + sizes_without_replay):
        arms: dict[str, Any] = {}
        if size in SIZES:
            arms["replay"] = {str(seed): run("replay", size, seed, rates, accounting) for seed in (0, 1)}
        if size in sizes_without_replay:
            arms["sequential"] = {str(seed): run("sequential", size, seed, [0.0] * len(rates)) for seed in (0, 1)}
        points.append({"values": {"model.preset": str(size)}, "arms": {}, "runs": arms})
    write_json(folder / "sweep.json", {"format": "palimpsest.sweep/2", "points": points})
    analyse_scaling(folder / "sweep.json", folder / "scaling.json")
    found = json.loads((folder / "scaling.json").read_text())["exchange"]
    for entry in found:
        assert entry["growth"] == pytest.approx(GROWTH) and entry["ci95"] == pytest.approx([GROWTH, GROWTH])
    return {entry["at_flops_per_token"]: entry["replay_cost"] for entry in found}
