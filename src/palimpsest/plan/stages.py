"""What each stage of training costs: the ledger that it will leave, known from its lineage alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from palimpsest.experiment.build_specs import data_identities
from palimpsest.experiment.inventory import Inventory
from palimpsest.experiment.lineage import Arms, Lineage, checkpoints, lineages
from palimpsest.params import Params
from palimpsest.plan.size import Size, model_size
from palimpsest.replay.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training, which every lineage that has it in its past shares. ``arms`` is empty for those of the sweep.

    ``budget`` in tokens is what it would cost without replay. ``needed``: by language, new tokens.
    """

    lineage: Lineage
    size: Size
    arms: tuple[str, ...]
    steps: int
    new_tokens: int
    replayed_tokens: int
    budget: int
    needed: dict[str, int]

    @property
    def total_tokens(self) -> int:
        return self.new_tokens + self.replayed_tokens

    @property
    def flops(self) -> int:
        return self.total_tokens * self.size.training_flops_per_token

    @property
    def processes(self) -> int:
        """Accelerators that share it."""
        return self.lineage.training.train.processes


def experiments(params: Params, points: Iterable[Params]) -> tuple[Arms, list[Arms]]:
    """The lineages of the arms, and of each point of the sweep.

    Files of the user's own are not looked into: the names of the lineages differ then, and their costs do not.
    """
    data = data_identities(params, {language: Inventory() for language in params.languages})
    return lineages(params, data), [lineages(point, data) for point in points]


def stages(arms: Arms, swept: Iterable[Arms], vocab_size: int) -> tuple[list[Lineage], list[Stage]]:
    """The initial models, and every training once, each after its parent; those of the arms come first."""
    of: dict[str, list[str]] = {}
    for arm, seeds in arms.items():
        for last in seeds.values():
            for lineage in last:
                of.setdefault(lineage.path, []).append(arm)
    found = {lineage.path: lineage for each in (arms, *swept) for lineage in _in_order(each)}
    roots = [lineage for lineage in found.values() if not lineage.parent]
    sizes = {root.path: _size(root, vocab_size) for root in roots}
    trained = [lineage for lineage in found.values() if lineage.parent]
    return roots, [_stage(lineage, sizes, tuple(dict.fromkeys(of.get(lineage.path, [])))) for lineage in trained]


def _in_order(arms: Arms) -> list[Lineage]:
    """Depth first, as a tree is printed; paths begin with their parents'."""
    place = {lineage.path: number for number, lineage in enumerate(checkpoints(arms))}
    return sorted(checkpoints(arms), key=lambda lineage: [place[above.path] for above in lineage])


def _size(root: Lineage, vocab_size: int) -> Size:
    name = root.path.rsplit("-s", 1)[0]
    return model_size(root.initial.model, name, vocab_size, root.initial.context_length)


def _stage(lineage: Lineage, sizes: Mapping[str, Size], arms: tuple[str, ...]) -> Stage:
    spec = lineage.training
    context, budget, replay = spec.train.context_length, spec.budget, spec.replay
    row = Schedule.for_budget(
        budget,
        batch_size=spec.train.batch_size,
        replay_rate=replay.rate if replay else Decimal(0),
        accounting=replay.accounting if replay else "add",
    )
    # Joint training draws each language's budget; a stage of one language what replay leaves of it.
    drawn = {new.language: new.sequences if len(spec.new) > 1 else row.new for new in spec.new}
    return Stage(
        lineage=lineage,
        size=sizes[next(iter(lineage)).path],
        arms=arms,
        steps=row.steps,
        new_tokens=row.new * context,
        replayed_tokens=row.replayed * context,
        budget=budget * context,
        needed={language: sequences * context for language, sequences in drawn.items()},
    )
