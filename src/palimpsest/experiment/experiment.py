"""A params file resolved into specs and lineages: all that the Snakefile needs."""

from __future__ import annotations

import glob
from functools import cached_property
from pathlib import Path
from typing import Any

from palimpsest.codec import encode
from palimpsest.evaluate.task_registry import describe_tasks
from palimpsest.experiment import build_specs
from palimpsest.experiment.inventory import take_inventory
from palimpsest.experiment.lineage import Arms, Lineage, checkpoints, lineages
from palimpsest.params import grid, naming, parse, point_params
from palimpsest.raw.local_files import digest_files
from palimpsest.specs.data import CorpusSpec, PoolSpec, RawSpec, TokenizerSpec, TokensSpec
from palimpsest.specs.evaluation import (
    EvaluationSpec,
    FinalCheckpoints,
    GatherSpec,
    SweepPoint,
    SweepSpec,
    TasksSpec,
)


class Experiment:
    """``config`` is the contents of the params file ``origin``. Raises ParamsError or DataError, naming key or file."""

    def __init__(self, config: Any, cache: Path, origin: str = "params.yaml") -> None:
        self.params = parse(config, origin)
        # Local files are looked at each time, so that a changed or added one is noticed; the cache has their hashes.
        self.inventories = {
            language: take_inventory(self.params, language, cache) for language in self.params.languages
        }
        with naming(origin):
            self.tasks = self._tasks(cache)
            # The points of a sweep share the data.
            data = build_specs.data_fingerprints(self.params, self.inventories)
            self.arms = lineages(self.params, data)
            self.sweep = [
                (point, lineages(point_params(config, point, origin), data))
                for point in grid(self.params.sweep)
                if point
            ]

    @cached_property
    def lineages(self) -> dict[str, Lineage]:
        """Every checkpoint of the arms and the sweep by path; never by a glob, since checkouts bring folders."""
        return {
            lineage.path: lineage
            for arms in [self.arms, *(arms for _, arms in self.sweep)]
            for lineage in checkpoints(arms)
        }

    def raw(self, language: str) -> RawSpec:
        return build_specs.raw_spec(self.params, language, self.inventories[language])

    def corpus(self, language: str) -> CorpusSpec:
        return build_specs.corpus_spec(self.params, language, self.inventories[language])

    @cached_property
    def tokenizer(self) -> TokenizerSpec:
        return build_specs.tokenizer_spec(self.params)

    def tokens(self, language: str) -> TokensSpec:
        return build_specs.tokens_spec(self.params, language)

    def pool(self, lineage: str) -> PoolSpec:
        return build_specs.pool_spec(self.lineages[lineage].training)

    @cached_property
    def evaluation(self) -> EvaluationSpec:
        return build_specs.evaluation_spec(self.params)

    @cached_property
    def gather(self) -> GatherSpec:
        """What results/eval_all.json is made of."""
        return GatherSpec(params=build_specs.recorded_params(self.params), arms=_finals(self.arms))

    @cached_property
    def sweep_results(self) -> SweepSpec:
        """What results/sweep.json is made of."""
        return SweepSpec(points=tuple(SweepPoint(values=point, arms=_finals(arms)) for point, arms in self.sweep))

    @property
    def outside(self) -> dict[str, Any]:
        """Hashes of the files outside the project that are not sources, so that DVC notices a changed one too."""
        model = next(iter(next(iter(self.lineages.values())))).initial.model
        return {
            "evaluation": {language: found.evaluation for language, found in self.inventories.items()},
            "tokenizer": self.tokenizer.content,
            "model": getattr(model, "content", None),
            "tasks": [encode(task) for task in self.tasks.tasks],
        }

    def _tasks(self, cache: Path) -> TasksSpec:
        evaluate, samples = self.params.evaluate, build_specs.sample_sources(self.params)
        folders = {language: Path("data", "raw", language, name) for language, name in samples.items()}
        described = describe_tasks(
            evaluate.tasks, evaluate.task_data, evaluate.task_source, folders,
            lambda path: digest_files(glob.escape(str(path)), cache),
        )  # fmt: skip
        return build_specs.tasks_spec(self.params, described)


def _finals(arms: Arms) -> FinalCheckpoints:
    return {arm: {str(seed): last.path for seed, last in seeds.items()} for arm, seeds in arms.items()}
