"""Specs of evaluation, of the results that are gathered from it, and of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from palimpsest.codec import excluded_from_fingerprint
from palimpsest.settings.params import Params

# Of the stages that have no spec: they read the results alone.
SCALING_REVISION, REPORT_REVISION = 3, 5

# Arm → seed → the path of its last checkpoint.
FinalCheckpoints = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """A checkpoint's held-out loss on every language, the same for all checkpoints."""

    languages: tuple[str, ...]
    max_tokens: int
    max_document_tokens: int
    batch_size: int
    sample_tokens: int
    context_length: int
    threads: int
    revision: int = 2


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A zero-shot task: ``file`` is the task file as params name it, None for a built-in task.

    ``sample``: the language whose sample corpus it asks about, or None. ``config`` and ``data`` are hashes.
    """

    name: str
    file: str | None = excluded_from_fingerprint(default=None)
    sample: str | None
    config: str
    data: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TasksSpec:
    """The zero-shot tasks, the same for every checkpoint.

    ``samples``: language → name of its sample source, for the tasks that ask about one.
    """

    tasks: tuple[TaskSpec, ...]
    samples: Mapping[str, str]
    data_folder: str | None = excluded_from_fingerprint(default=None)
    source: Literal["local", "hub"]
    limit: int | None
    batch_size: int
    threads: int
    revision: int = 2


@dataclass(frozen=True, kw_only=True)
class GatherSpec:
    """What results/eval_all.json is made of: the resolved params, which it repeats, and the last checkpoints."""

    params: Params
    arms: FinalCheckpoints
    revision: int = REPORT_REVISION


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """A point of the sweep: dotted key → value, and the last checkpoints there."""

    values: Mapping[str, Any]
    arms: FinalCheckpoints


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """What results/sweep.json is made of."""

    points: tuple[SweepPoint, ...]
    revision: int = 1
