"""The one place that calls lm-evaluation-harness: a checkpoint is loaded once and asked one task after another.

Importing it takes seconds, and reads environment variables that ``tasks.build`` sets before.
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

from palimpsest.evaluate.catalogue import Task
from palimpsest.evaluate.task_file import Config
from palimpsest.model.devices import best_device
from palimpsest.model.hf_checkpoint import load_transformers_model

# The seeds of the harness's command line: for its shuffles, numpy, torch, and the choice of examples.
_SEED, _OTHER_SEEDS = 0, 1234

logger = logging.getLogger(__name__)

# It warns of every prompt that is cut to the model's context, and of being given a model that is already loaded.
logging.getLogger("lm_eval").setLevel(logging.ERROR)


class _Model(HFLM):  # type: ignore[misc]
    """Without bars. The harness stops at an answer that is longer than the context; here its beginning is judged."""

    def loglikelihood(self, requests: list[Any], **_: Any) -> Any:
        return super().loglikelihood(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: list[Any], **options: Any) -> Any:
        room = self.max_length
        if cut := sum(len(answer) > room for _, _, answer in requests):
            logger.warning("%d answers are longer than the context of %d tokens: judged by their beginning", cut, room)
        return super()._loglikelihood_tokens(
            [(texts, context, answer[:room]) for texts, context, answer in requests], **options
        )


class Harness:
    """A checkpoint in fp32. Prompts are cut from the left to the model's max_position_embeddings."""

    def __init__(self, run: Path, batch_size: int, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        # The harness cuts what is too long, of which the tokenizer need not warn.
        tokenizer = AutoTokenizer.from_pretrained(
            run, local_files_only=True, trust_remote_code=False, model_max_length=sys.maxsize
        )
        self._model = _Model(
            pretrained=load_transformers_model(run, best_device()), tokenizer=tokenizer, batch_size=batch_size
        )
        # Without the harness's own thousands of task files, which take longer to read than a small model to ask.
        self._tasks = TaskManager(include_defaults=False)

    def ask(self, task: Task, overrides: Config, limit: int | None, folder: Path) -> dict[str, Any]:
        """``metric``, ``value``, ``stderr`` (null where the harness has none) and ``documents``, the questions asked.

        The metric is the first of the task file's metric_list. Of more than ``limit`` questions those are asked that
        lie evenly over all: a set may be sorted by its answers, as PubMedQA's is. ``folder`` is for a task file with
        the ``overrides``.
        """
        file = folder / f"{task.name}.yaml"
        file.write_text(yaml.safe_dump({"include": str(task.path), "task": task.name, **overrides}), encoding="utf-8")
        loaded = self._tasks.load([str(file)])
        question = loaded["tasks"][task.name]
        if question.config.num_fewshot is None:
            question.set_config(key="num_fewshot", value=0)
        question.set_fewshot_seed(seed=_OTHER_SEEDS)
        random.seed(_SEED)
        np.random.seed(_OTHER_SEEDS)
        torch.manual_seed(_OTHER_SEEDS)
        chosen = spread(len(question.eval_docs), limit)
        results = lm_eval.evaluate(
            lm=self._model, task_dict=loaded, samples={task.name: chosen} if chosen else None, log_samples=False
        )
        return _figure(results["results"][task.name]) | {"documents": results["n-samples"][task.name]["effective"]}


def spread(size: int, limit: int | None) -> list[int]:
    """The numbers of ``limit`` questions that lie evenly over ``size``; none where all are to be asked."""
    return [place * size // limit for place in range(limit)] if limit and limit < size else []


def _figure(scores: dict[str, Any]) -> dict[str, Any]:
    """From "acc,none": 0.5, "acc_stderr,none": 0.1, … by metric and filter."""
    key = next(key for key in scores if "," in key and "_stderr," not in key)
    metric, kind = key.split(",", 1)
    error = scores.get(f"{metric}_stderr,{kind}")
    return {"metric": metric, "value": scores[key], "stderr": error if isinstance(error, float) else None}
