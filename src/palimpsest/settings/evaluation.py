"""How checkpoints are evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from palimpsest.settings.base import Bound, Positive, Settings, setting


@dataclass(frozen=True, kw_only=True)
class Evaluate(Settings):
    """The loss matrix: every checkpoint on the held-out documents of every language."""

    max_tokens: Positive = setting(
        20_000, "held-out tokens per language, document by document; the last one is truncated"
    )
    max_document_tokens: Positive = setting(2048, "a document is truncated to this many tokens")
    batch_size: Positive = setting(32, "windows in one forward pass")
    bootstrap: Positive = setting(1000, "resamples of the documents for the 95 % intervals")
    sample_tokens: Annotated[int, Bound(ge=0)] = setting(
        40, "tokens that each checkpoint generates after the beginning of two held-out documents; 0: none"
    )
    tasks: tuple[str, ...] = setting(
        (),
        "zero-shot tasks: names of built-in ones (docs/metrics.md lists them), or task files in "
        "lm-evaluation-harness's format that read local JSONL; code that a task file names is executed: use only files "
        "that you trust",
    )
    task_data: str | None = setting(None, "folder with the data files of the built-in tasks", in_fingerprint=False)
    task_source: Literal["local", "hub"] = setting(
        "local", "where built-in tasks read their data: task_data, or the Hugging Face hub"
    )
    task_limit: Positive | None = setting(None, "questions of each task, evenly spaced; null: all")
