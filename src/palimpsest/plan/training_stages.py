"""The training stages of a params file, with the ledger of each, computed from its lineage alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from palimpsest.experiment.build_specs import data_fingerprints
from palimpsest.experiment.inventory import Inventory
from palimpsest.experiment.lineage import Arms, Lineage, checkpoints, lineages
from palimpsest.params import Params
from palimpsest.plan.model_size import ModelSize, model_size
from palimpsest.replay.schedule import ReplaySchedule


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """One training run, shared by every lineage that contains it. ``arms`` is empty for stages of the sweep.

    ``budget``: tokens that it would train on without replay. ``text``: language → new tokens that it reads.
    """

    lineage: Lineage
    size: ModelSize
    arms: tuple[str, ...]
    steps: int
    new_tokens: int
    replayed_tokens: int
    budget: int
    text: Mapping[str, int]

    @property
    def parent(self) -> str:
        """The path of the checkpoint that it starts from."""
        return self.lineage.path.rpartition("/")[0]

    @property
    def total_tokens(self) -> int:
        return self.new_tokens + self.replayed_tokens

    @property
    def flops(self) -> int:
        return self.total_tokens * self.size.training_flops_per_token

    @property
    def processes(self) -> int:
        """The number of GPUs that it uses."""
        return self.lineage.training.train.processes


def plan_lineages(params: Params, points: Iterable[Params]) -> tuple[Arms, list[Arms]]:
    """The lineages of the arms, and of each point of the sweep.

    Local files are not hashed, so the names of lineages differ from those of a run; their costs do not.
    """
    data = data_fingerprints(params, {language: Inventory() for language in params.languages})
    return lineages(params, data), [lineages(point, data) for point in points]


def training_stages(arms: Arms, swept: Iterable[Arms], vocab_size: int) -> tuple[list[Lineage], list[TrainingStage]]:
    """The initial models, and every training stage once, after its parent; those of the arms come first."""
    arms_of: dict[str, list[str]] = {}
    for arm, seeds in arms.items():
        for last in seeds.values():
            for lineage in last:
                arms_of.setdefault(lineage.path, []).append(arm)
    found = {lineage.path: lineage for each in (arms, *swept) for lineage in _depth_first(each)}
    roots = [lineage for lineage in found.values() if not lineage.parent]
    sizes = {root.path: _size(root, vocab_size) for root in roots}
    trained = [lineage for lineage in found.values() if lineage.parent]
    return roots, [_stage(lineage, sizes, tuple(dict.fromkeys(arms_of.get(lineage.path, [])))) for lineage in trained]


def _depth_first(arms: Arms) -> list[Lineage]:
    """The checkpoints in the order in which a tree is printed."""
    position = {lineage.path: at for at, lineage in enumerate(checkpoints(arms))}
    return sorted(checkpoints(arms), key=lambda lineage: [position[above.path] for above in lineage])


def _size(root: Lineage, vocab_size: int) -> ModelSize:
    name = root.path.rsplit("-s", 1)[0]
    return model_size(root.initial.model, name, vocab_size, root.initial.context_length)


def _stage(lineage: Lineage, sizes: Mapping[str, ModelSize], arms: tuple[str, ...]) -> TrainingStage:
    spec = lineage.training
    context_length = spec.train.context_length
    schedule = ReplaySchedule.for_budget(spec.budget, batch_size=spec.train.batch_size, replay=spec.replay)
    # Joint training draws the budget of every language; other stages draw what replay leaves of theirs.
    drawn = {new.language: new.sequences if len(spec.new) > 1 else schedule.new for new in spec.new}
    return TrainingStage(
        lineage=lineage,
        size=sizes[next(iter(lineage)).path],
        arms=arms,
        steps=schedule.steps,
        new_tokens=schedule.new * context_length,
        replayed_tokens=schedule.replayed * context_length,
        budget=spec.budget * context_length,
        text={language: sequences * context_length for language, sequences in drawn.items()},
    )
