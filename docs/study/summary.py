"""The study's tables in Markdown, from the results that run.sh left: python docs/study/summary.py FOLDER."""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from scipy.stats import t

from palimpsest.evaluate.results.eval_all import REFERENCE_ARM, EvalAll, read_eval_all
from palimpsest.evaluate.results.scaling_results import ScalingResults, read_scaling_results
from palimpsest.evaluate.results.sweep_results import SweepResults, SweepRun, read_sweep_results

Seeds = Mapping[str, SweepRun]
"""Seed → results of one arm."""
Quantity = Callable[[SweepRun], float | None]


def main(folder: Path) -> None:
    """Print every table."""
    sweeps = {
        piece: read_sweep_results(folder / piece / "sweep.json")
        for piece in ("main", "five", "mer", "rates", "constant")
    }
    scaling = read_scaling_results(folder / "grid" / "scaling.json")
    print("<!-- made by docs/study/summary.py from the results; the text about it is in README.md -->")
    runs = dict(_arms(sweeps["main"]))
    for lines in (
        _comparison(runs), _differences(runs),
        _five(read_eval_all(folder / "five" / "eval_all.json"), sweeps["five"]),
        _windows("down to 2e-4 by a cosine", sweeps["mer"]),
        _windows("at its peak all the time", sweeps["rates"]),
        _constant(sweeps["constant"]),
        _sizes(scaling), _exchange(scaling), _tasks(read_eval_all(folder / "tasks" / "eval_all.json")),
    ):  # fmt: skip
        print("\n".join(["", *lines]))


def _arms(sweep: SweepResults) -> Iterator[tuple[str, Seeds]]:
    """Every arm with its rate, each once."""
    for point in sweep.points:
        rate = f"{100 * float(point.values['replay.rate']):g} %"
        for arm, runs in point.runs.items():
            if arm in ("replay", "mer"):
                if rate != "0 %":
                    yield f"{arm} {rate}", runs
            elif rate == "0 %":
                yield arm, runs


def _retained(run: SweepRun) -> float:
    return run.retained_loss


def _learned(run: SweepRun) -> float | None:
    return run.learned_loss


def _forgetting(run: SweepRun) -> float | None:
    """Mean over the earlier languages."""
    return run.mean_forgetting


_QUANTITIES: tuple[Quantity, ...] = (_retained, _learned, _forgetting)


def _spread(quantity: Quantity, seeds: Seeds) -> str:
    """Mean ± standard deviation over seeds; a dash where the arm has no such quantity."""
    values = [value for run in seeds.values() if (value := quantity(run)) is not None]
    return f"{statistics.mean(values):+.3f} ± {statistics.stdev(values):.3f}".lstrip("+") if values else "–"


def _difference(quantity: Quantity, one: Seeds, other: Seeds) -> str:
    """Mean and 95 % interval over seeds; a dash where either arm has no such quantity."""
    pairs = [(quantity(one[seed]), quantity(other[seed])) for seed in one]
    values = [a - b for a, b in pairs if a is not None and b is not None]
    return _interval(values) if values else "–"


def _comparison(runs: Mapping[str, Seeds]) -> Iterator[str]:
    yield "## Main comparison: en → fr → de, mean ± standard deviation over seeds\n"
    yield "| arm | retained loss | learned loss | forgetting | compute |\n|---|---|---|---|---|"
    base = _first(runs["sequential"]).flops
    for arm, seeds in runs.items():
        cells = [_spread(quantity, seeds) for quantity in _QUANTITIES]
        yield f"| {arm} | {' | '.join(cells)} | {_first(seeds).flops / base:.2f}× |"


def _first(seeds: Seeds) -> SweepRun:
    return next(iter(seeds.values()))


def _differences(runs: Mapping[str, Seeds]) -> Iterator[str]:
    yield "## Differences, seed by seed: mean and 95 % interval (Student's t)\n"
    yield "| | retained loss | learned loss | forgetting |\n|---|---|---|---|"
    pairs = [("replay 5 %", "sequential"), ("replay 25 %", "sequential"), ("replay 50 %", "sequential"),
             ("reptile", "sequential"), ("replay 50 %", "replay 25 %"), ("mer 5 %", "replay 5 %"),
             ("mer 25 %", "replay 25 %"), ("mer 50 %", "replay 50 %"), ("replay 50 %", "joint")]  # fmt: skip
    for one, other in pairs:
        cells = [_difference(quantity, runs[one], runs[other]) for quantity in _QUANTITIES]
        yield f"| {one} − {other} | {' | '.join(cells)} |"


def _interval(values: Sequence[float]) -> str:
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.mean(values)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def _five(eval_all: EvalAll, sweep: SweepResults) -> Iterator[str]:
    (runs,) = [point.runs for point in sweep.points]
    columns: dict[str, Quantity] = {name: _forgetting_of(name) for name in eval_all.languages[:-1]}
    columns |= {"retained loss": _retained, "learned loss": _learned}
    yield "## Five languages: forgetting by language, and mean losses, mean ± standard deviation over seeds\n"
    yield f"| arm | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for arm in eval_all.arms:
        yield f"| {arm} | {' | '.join(_spread(quantity, runs[arm]) for quantity in columns.values())} |"
    for one, other in (("replay", "sequential"), ("mer", "replay"), ("replay", "joint")):
        cells = [_difference(quantity, runs[one], runs[other]) for quantity in columns.values()]
        yield f"| {one} − {other} (95 %) | {' | '.join(cells)} |"


def _forgetting_of(language: str) -> Quantity:
    return lambda run: run.forgetting.get(language)


def _tasks(results: EvalAll) -> Iterator[str]:
    arms, last = dict(sorted(results.arms.items())), results.languages[-1]
    yield "## Zero-shot tasks: 100 questions of each, after the last language, one seed\n"
    yield f"| task | metric | chance | untrained | {' | '.join(arms)} |"
    yield "|---" * (len(arms) + 4) + "|"
    for name, task in sorted(results.tasks.items()):
        chance = "–" if task.chance is None else f"{task.chance:.3f}"
        cells = [
            f"{summary.tasks[REFERENCE_ARM if arm == REFERENCE_ARM else last][name].mean:.3f}"
            for arm, summary in arms.items()
        ]
        untrained = next(iter(arms.values())).tasks["init"][name].mean
        yield f"| {name} | {task.metric} | {chance} | {untrained:.3f} | {' | '.join(cells)} |"


def _windows(rate_is: str, sweep: SweepResults) -> Iterator[str]:
    yield f"## ε, k and a learning rate that is {rate_is}: smallest size, replay 25 %, one seed\n"
    yield "| learning rate | k | ε | retained loss | learned loss | forgetting |\n|---|---|---|---|---|---|"
    shown = set()
    for point in sweep.points:
        rate, window, step = (point.values[key] for key in ("train.learning_rate", "mer.interval", "mer.step_size"))
        for arm, setting in (("replay", "– | – (replay alone)"), ("mer", f"{window} | {step}")):
            if (rate, setting) not in shown:
                shown.add((rate, setting))
                (run,) = point.runs[arm].values()
                yield (
                    f"| {rate:g} | {setting} | {run.retained_loss:.3f} | {run.learned_loss:.3f} | "
                    f"{run.mean_forgetting:+.3f} |"
                )


def _constant(sweep: SweepResults) -> Iterator[str]:
    yield "## MER where the learning rate stays at its peak: main size, replay 25 %, mean ± standard deviation\n"
    yield "| | retained loss | learned loss | forgetting |\n|---|---|---|---|"
    alone = sweep.points[0].runs["replay"]
    yield f"| replay alone | {' | '.join(_spread(quantity, alone) for quantity in _QUANTITIES)} |"
    for point in sweep.points:
        step, mer = point.values["mer.step_size"], point.runs["mer"]
        yield f"| ε = {step} | {' | '.join(_spread(quantity, mer) for quantity in _QUANTITIES)} |"
        differences = [_difference(quantity, mer, alone) for quantity in _QUANTITIES]
        yield f"| ε = {step} − replay alone (95 %) | {' | '.join(differences)} |"


def _sizes(scaling: ScalingResults) -> Iterator[str]:
    points = scaling.points
    rates = sorted({point.rate for point in points})
    yield "## Retained loss by size and replay rate, mean over seeds\n"
    yield f"| parameters | MFLOPs a token | {' | '.join(f'{100 * rate:g} %' for rate in rates)} |"
    yield "|---" * (len(rates) + 2) + "|"
    for flops, parameters in sorted({(point.flops_per_token, point.parameters) for point in points}):
        cells = [
            statistics.mean(p.retained_loss for p in points if (p.flops_per_token, p.rate) == (flops, rate))
            for rate in rates
        ]
        yield f"| {parameters:,} | {flops / 1e6:.2f} | {' | '.join(f'{cell:.3f}' for cell in cells)} |"


def _exchange(scaling: ScalingResults) -> Iterator[str]:
    yield "## Laws and exchange rates\n"
    for fit in scaling.fits:
        ranges = ", ".join(
            f"{name} = {value:.4g} [{fit.ci95[name][0]:.4g}, {fit.ci95[name][1]:.4g}]"
            for name, value in fit.coefficients.items()
        )
        yield f"- {fit.arm} {100 * fit.rate:g} %, {fit.measure}: {fit.law}; {ranges}. {fit.why}"
    yield "\n| replay rate | parameters | growth that retains as much | 95 % | cost of replay | |"
    yield "|---|---|---|---|---|---|"
    for entry in scaling.exchange:
        growth = f"{entry.growth:.2f}×" if entry.growth else "–"
        low, high = entry.ci95 or (0, 0)
        interval = f"{low:.2f} to {high:.2f}" if low < high else "–"  # all of it is beyond the extrapolation limit
        yield (
            f"| {100 * entry.rate:g} % | {entry.at_parameters:,} | {growth} | {interval} | "
            f"{entry.replay_cost:.2f}× | {entry.why} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
