"""Everything that a params file asks for, resolved: what the Snakefile knows. Nothing is run here."""

from __future__ import annotations

import glob
from functools import cached_property
from pathlib import Path
from typing import Any

from palimpsest import recipe
from palimpsest.artifact import fingerprint
from palimpsest.evaluate.task_registry import describe_tasks
from palimpsest.lineage import Lineage, lineages
from palimpsest.params import grid, naming, override, parse
from palimpsest.paths import expand
from palimpsest.raw import inventory
from palimpsest.recipe import Inventory

Arms = dict[str, dict[int, Lineage]]


class Experiment:
    """``config`` is the contents of the params file ``origin``. Raises ParamsError or DataError, naming key or file."""

    def __init__(self, config: Any, cache: Path, origin: str = "params.yaml") -> None:
        self.params = parse(config, origin)
        # Local files are looked at each time, so that a changed or added one is seen; the cache knows their hashes.
        self.inventories = {language: self._inventory(language, cache) for language in self.params.languages}
        with naming(origin):
            self.tasks = self._tasks(cache)
            self.arms = lineages(self.params, self.inventories)
            self.sweep = [
                (point, lineages(override(self.params, point), self.inventories))
                for point in grid(self.params.sweep)
                if point
            ]

    @cached_property
    def lineages(self) -> dict[str, Lineage]:
        """Every checkpoint that is asked for, by path; never by a glob, since checkouts bring folders."""
        return {
            lineage.path: lineage
            for arms in [self.arms, *(arms for _, arms in self.sweep)]
            for lineage in checkpoints(arms)
        }

    def _inventory(self, language: str, cache: Path) -> Inventory:
        patterns = {str(source.name): local_files(source) for source in self.params.corpus.sources[language]}
        sets = self.params.corpus.cleaning(language)["decontamination"]
        seen = [inventory.list_files(expand(path), cache) for path in sets["paths"]] if sets else []
        return Inventory(
            sources={name: inventory.digest_files(pattern, cache) for name, pattern in patterns.items() if pattern},
            evaluation=fingerprint(seen) if sets else None,
        )

    def raw(self, language: str) -> recipe.Spec:
        return recipe.raw(self.params, language, self.inventories[language])

    def corpus(self, language: str) -> recipe.Spec:
        return recipe.corpus(self.params, language, self.inventories[language])

    def _tasks(self, cache: Path) -> recipe.Spec:
        asked, samples = self.params.evaluate, recipe.sample_sources(self.params)
        folders = {language: Path("data", "raw", language, name) for language, name in samples.items()}
        described = describe_tasks(
            asked.tasks, asked.task_data, asked.task_source, folders,
            lambda path: inventory.digest_files(glob.escape(str(path)), cache),
        )  # fmt: skip
        return recipe.tasks(self.params, described)

    @property
    def outside(self) -> recipe.Spec:
        """Hashes of the files outside the project that are not sources, so that DVC too sees when one has changed."""
        return {
            "evaluation": {language: found.evaluation for language, found in self.inventories.items()},
            "tokenizer": recipe.tokenizer(self.params)["tokenizer"].get("content"),
            "model": self.params.model.shape.get("content"),
            "tasks": self.tasks["tasks"],
        }

    def gathered(self) -> recipe.Spec:
        """What results/eval_all.json is made of."""
        return recipe.report(self.params) | {"arms": _finals(self.arms)}

    def swept(self) -> recipe.Spec:
        """What results/sweep.json is made of."""
        points = [{"values": point, "arms": _finals(arms)} for point, arms in self.sweep]
        return {
            "points": points,
            "revision": recipe.REVISIONS["sweep"],
        }


def local_files(source: Any) -> str | None:
    """The glob of a source that lies on this machine."""
    if path := getattr(source, "path", None):
        return expand(path)
    if source.kind == "hf" and Path(source.dataset).is_dir():
        return f"{source.dataset}/{source.files}"
    return None


def checkpoints(arms: Arms) -> list[Lineage]:
    """Every checkpoint of the arms, each once."""
    found = {lineage.path: lineage for seeds in arms.values() for last in seeds.values() for lineage in last}
    return list(found.values())


def _finals(arms: Arms) -> dict[str, dict[str, str]]:
    return {arm: {str(seed): last.path for seed, last in seeds.items()} for arm, seeds in arms.items()}
