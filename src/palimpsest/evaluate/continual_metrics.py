"""Continual-learning metrics of a loss matrix: forgetting, transfer, retained and learned loss (docs/metrics.md).

Only the formulas: arm_summary.py applies them to the seeds of an arm for eval_all.json.

A matrix maps row (stage) → column (language) → loss L[t][j] in nats per token. The rows are in the order of training;
row 0, before any training, is "init". The row of a language is that of the stage which trained on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

LossMatrix = Mapping[str, Mapping[str, float]]


def forgetting(matrix: LossMatrix) -> dict[str, float]:
    """F_j(T) = L[T][j] - min over j ≤ s < T of L[s][j], for every language except the last. Positive: forgotten."""
    stages = _trained_stages(matrix)
    return {
        language: matrix[stages[-1]][language] - min(matrix[stage][language] for stage in stages[own:-1])
        for own, language in enumerate(stages[:-1])
    }


def backward_transfer(matrix: LossMatrix) -> dict[str, float]:
    """BWT_j = L[T][j] - L[j][j], for every language except the last. Negative: later stages improved it."""
    stages = _trained_stages(matrix)
    return {language: matrix[stages[-1]][language] - matrix[language][language] for language in stages[:-1]}


def forward_transfer(matrix: LossMatrix) -> dict[str, float]:
    """FWT_j = L[0][j] - L[j-1][j], for every language except the first. Positive: earlier stages helped."""
    stages = _trained_stages(matrix)
    return {language: matrix["init"][language] - matrix[before][language] for before, language in pairwise(stages)}


def retained_loss(matrix: LossMatrix) -> float:
    """Stability: the mean over all languages of L[T][j]."""
    return float(np.mean(list(matrix[list(matrix)[-1]].values())))


def learned_loss(matrix: LossMatrix) -> float:
    """Plasticity: the mean over all languages of L[j][j], each right after its own stage."""
    return float(np.mean([matrix[language][language] for language in _trained_stages(matrix)]))


def bootstrap_interval(nats: np.ndarray, tokens: np.ndarray, resamples: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of nats per token over documents; equal inputs give equal intervals."""
    weights = np.random.default_rng(0).multinomial(len(nats), np.full(len(nats), 1 / len(nats)), size=resamples)
    low, high = np.quantile((weights @ nats) / (weights @ tokens), [0.025, 0.975])
    return float(low), float(high)


def _trained_stages(matrix: LossMatrix) -> list[str]:
    return [stage for stage in matrix if stage != "init"]
