"""The only module that calls lm-evaluation-harness: loads a checkpoint once and runs one task after another.

Importing it takes seconds and reads environment variables that ``run_tasks`` sets first.
"""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import torch
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

from palimpsest.evaluate.run_tasks import HarnessScore
from palimpsest.evaluate.task_config import TaskConfig
from palimpsest.evaluate.task_registry import TaskFile
from palimpsest.model.devices import best_device
from palimpsest.model.hf_checkpoint import load_transformers_model

# The seeds of the harness's command line: for its shuffles, numpy, torch, and the choice of examples.
_SEED, _OTHER_SEEDS = 0, 1234

logger = logging.getLogger(__name__)

# The harness warns about every prompt that is truncated to the context, and about a model that is already loaded.
logging.getLogger("lm_eval").setLevel(logging.ERROR)


class _TruncatingModel(HFLM):  # type: ignore[misc]
    """Without progress bars. Scores the beginning of an answer longer than the context, at which the harness fails."""

    def loglikelihood(self, requests: list[Any], **_: Any) -> Any:
        return super().loglikelihood(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: list[Any], **options: Any) -> Any:
        longest = self.max_length
        if cut := sum(len(answer) > longest for _, _, answer in requests):
            logger.warning(
                "%d answers are longer than the context of %d tokens: scored by their beginning", cut, longest
            )
        return super()._loglikelihood_tokens(
            [(texts, context, answer[:longest]) for texts, context, answer in requests], **options
        )


class Harness:
    """A checkpoint in fp32. Prompts are truncated from the left to the model's max_position_embeddings."""

    def __init__(self, run: Path, batch_size: int, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        # The harness truncates long prompts itself, so the tokenizer need not warn about them.
        tokenizer = AutoTokenizer.from_pretrained(
            run, local_files_only=True, trust_remote_code=False, model_max_length=sys.maxsize
        )
        model = load_transformers_model(run, best_device())
        self._model = _TruncatingModel(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        # Without the thousands of task files of the harness: reading them takes longer than evaluating a small model.
        self._tasks = TaskManager(include_defaults=False)

    def evaluate(self, task: TaskFile, overrides: TaskConfig, limit: int | None, folder: Path) -> HarnessScore:
        """Run one task; the metric is the first of the task file's metric_list.

        Of more than ``limit`` questions, ``limit`` evenly spaced ones are used: a data set may be sorted by answer, as
        PubMedQA is. ``folder``: where a task file with the ``overrides`` is written.
        """
        file = folder / f"{task.name}.yaml"
        file.write_text(yaml.safe_dump({"include": str(task.path), "task": task.name, **overrides}), encoding="utf-8")
        loaded = self._tasks.load([str(file)])
        questions = loaded["tasks"][task.name]
        if questions.config.num_fewshot is None:
            questions.set_config(key="num_fewshot", value=0)
        questions.set_fewshot_seed(seed=_OTHER_SEEDS)
        random.seed(_SEED)
        np.random.seed(_OTHER_SEEDS)
        torch.manual_seed(_OTHER_SEEDS)
        chosen = evenly_spaced(len(questions.eval_docs), limit)
        results = lm_eval.evaluate(
            lm=self._model, task_dict=loaded, samples={task.name: chosen} if chosen else None, log_samples=False
        )
        return _first_metric(results["results"][task.name], results["n-samples"][task.name]["effective"])


def evenly_spaced(size: int, limit: int | None) -> list[int]:
    """The indices of ``limit`` questions evenly spaced over ``size``; [] if all are used."""
    return [index * size // limit for index in range(limit)] if limit and limit < size else []


def _first_metric(scores: dict[str, Any], documents: int) -> HarnessScore:
    """The first metric of scores like {"acc,none": 0.5, "acc_stderr,none": 0.1, …}, keyed by metric and filter."""
    key = next(key for key in scores if "," in key and "_stderr," not in key)
    metric, kind = key.split(",", 1)
    error = scores.get(f"{metric}_stderr,{kind}")
    return HarnessScore(
        metric=metric,
        value=scores[key],
        stderr=error if isinstance(error, float) else None,
        documents=documents,
    )
