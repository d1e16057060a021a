"""What the analyses leave beside eval_all.json, with planted values: alignment.csv and scaling.json."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from palimpsest.artifact import write_json

_START, _STEPS, _EVERY, _WINDOW, _TOKENS = 150, 200, 10, 20, 2048  # of the made-up results' stages that replay
_SIZES = {400_000: 1_100_000, 1_900_000: 6_200_000, 7_800_000: 31_000_000}  # parameters → training FLOPs per token


class MadeAnalyses:
    groups = ("all", "embedding", "blocks 1-2", "blocks 3-4", "head")
    change = 0.043  # of the cosine, by every interpolation
    laws: ClassVar = {  # arm, rate → floor, factor, power of the retained loss over FLOPs per token
        ("sequential", 0.0): (2.1, 90.0, 0.27),
        ("replay", 0.05): (2.0, 70.0, 0.27),
        ("replay", 0.25): (1.9, 62.0, 0.27),
        ("mer", 0.25): (1.9, 60.0, 0.27),
    }

    @classmethod
    def cosine(cls, arm: str, seed: int, step: int, group: str) -> float:
        base = {"replay": 0.08, "mer": 0.21}[arm] + 0.05 * cls.groups.index(group) - 0.1
        return base + 0.12 * math.sin(step / 31) + 0.02 * math.sin(step * 1.7 + seed)

    @classmethod
    def write_alignment(cls, folder: Path, stages: tuple[str, ...] = ("fr", "de"), seeds: int = 1) -> Path:
        path = folder / "alignment.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["arm", "seed", "stage", "step", "tokens", "at", "group", "cosine"])
            for arm in ("replay", "mer"):
                table.writerows(row for seed in range(seeds) for row in cls._rows(arm, seed, stages))
        return path

    @classmethod
    def _rows(cls, arm: str, seed: int, stages: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        for number, stage in enumerate(stages):
            for step in range(_START + number * _STEPS + _EVERY, _START + (number + 1) * _STEPS + 1, _EVERY):
                for group in cls.groups:
                    value, place = cls.cosine(arm, seed, step, group), (arm, seed, stage, step, step * _TOKENS)
                    yield (*place, "step", group, value)
                    if arm == "mer" and (step - _START) % _WINDOW == 0:
                        yield (*place, "window", group, value)
                        yield (*place, "interpolated", group, value + cls.change)

    @classmethod
    def retained(cls, arm: str, rate: float, flops_per_token: float) -> float:
        floor, factor, power = cls.laws[arm, rate]
        return floor + factor * flops_per_token**-power

    @classmethod
    def write_scaling(cls, folder: Path) -> Path:
        path = folder / "scaling.json"
        write_json(path, cls.scaling())
        return path

    @classmethod
    def scaling(cls) -> dict[str, Any]:
        """Runs on their laws, give or take the seed: two at three sizes of every arm and rate; learned is 0.3 below."""
        measures = ("retained_loss", "learned_loss")
        return {
            "format": "palimpsest.scaling/1",
            "points": [cls._point(*key, size, seed) for key in cls.laws for size in _SIZES for seed in (0, 1)],
            "fits": [cls._fit(*key, measure) for key in cls.laws for measure in measures],
            "exchange": [
                cls._exchange("replay", 0.05, 2.31, [1.62, 3.4], ""),
                cls._exchange("replay", 0.25, 1.41, [1.02, 2.9], "within the sizes tried"),
                cls._exchange("mer", 0.25, None, None, "no size without replay retains as much"),
            ],
        }

    @classmethod
    def _point(cls, arm: str, rate: float, size: int, seed: int) -> dict[str, Any]:
        flops, loss = _SIZES[size], cls.retained(arm, rate, _SIZES[size])
        return {
            "arm": arm, "rate": rate, "accounting": "add" if rate else None, "seed": seed, "parameters": size,
            "flops_per_token": flops, "flops": round(flops * 1e6 / (1 - rate)), "retained_loss": loss + 0.02 * seed,
            "learned_loss": loss - 0.3 + 0.01 * seed, "values": {"model.preset": f"p{size}"},
        }  # fmt: skip

    @classmethod
    def _fit(cls, arm: str, rate: float, measure: str) -> dict[str, Any]:
        floor, factor, power = cls.laws[arm, rate]
        grid = [1.1e6 * (3.1e7 / 1.1e6) ** (index / 20) for index in range(21)]
        losses = [cls.retained(arm, rate, flops) - (0.3 if measure == "learned_loss" else 0) for flops in grid]
        return {
            "arm": arm, "rate": rate, "accounting": "add" if rate else None, "measure": measure,
            "law": "L = E + A·C^(−b)", "coefficients": {"E": floor, "A": factor, "b": power},
            "ci95": {"E": [floor - 0.4, floor + 0.3], "A": [factor / 2, factor * 2], "b": [0.21, 0.33]},
            "curve": [
                {"flops_per_token": flops, "loss": loss, "low": loss - 0.06, "high": loss + 0.07}
                for flops, loss in zip(grid, losses, strict=True)
            ],
            "values": {}, "tells": arm != "mer", "why": "" if arm != "mer" else "b lies between 0.05 and 1.9",
        }  # fmt: skip

    @staticmethod
    def _exchange(arm: str, rate: float, growth: float | None, ci95: list[float] | None, why: str) -> dict[str, Any]:
        return {
            "arm": arm, "rate": rate, "accounting": "add", "at_parameters": 1_900_000, "at_flops_per_token": 6_200_000,
            "measure": "retained_loss", "growth": growth, "ci95": ci95, "replay_cost": 1 / (1 - rate),
            "values": {}, "tells": ci95 is not None, "why": why,
        }  # fmt: skip
