"""The study's tables in Markdown, from the results that run.sh left: python docs/study/summary.py FOLDER."""

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scipy.stats import t

Runs = dict[str, Any]


def main(folder: Path) -> None:
    """Print every table."""
    results = {
        piece: {
            name: json.loads((folder / piece / f"{name}.json").read_text()) for name in ("eval_all", "sweep", "scaling")
        }
        for piece in ("main", "five", "mer", "rates", "constant", "grid", "tasks")
    }
    print("<!-- made by docs/study/summary.py from the results; the text about it is in README.md -->")
    runs = dict(_arms(results["main"]["sweep"]))
    for lines in (
        _comparison(runs), _differences(runs), _five(results["five"]),
        _windows("down to 2e-4 by a cosine", results["mer"]["sweep"]),
        _windows("at its peak all the time", results["rates"]["sweep"]),
        _constant(results["constant"]["sweep"]),
        _sizes(results["grid"]["scaling"]), _exchange(results["grid"]["scaling"]), _tasks(results["tasks"]["eval_all"]),
    ):  # fmt: skip
        print("\n".join(["", *lines]))


def _arms(sweep: Any) -> Iterator[tuple[str, Runs]]:
    """Every arm with its rate, each once: seed → figures."""
    for point in sweep["points"]:
        rate = f"{100 * float(point['values']['replay.rate']):g} %"
        for arm, runs in point["runs"].items():
            if arm in ("replay", "mer"):
                if rate != "0 %":
                    yield f"{arm} {rate}", runs
            elif rate == "0 %":
                yield arm, runs


def _forgetting(run: Any) -> float | None:
    """Mean over the earlier languages."""
    return statistics.mean(run["forgetting"].values()) if run["forgetting"] else None


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):+.3f} ± {statistics.stdev(values):.3f}".lstrip("+")


def _comparison(runs: Mapping[str, Runs]) -> Iterator[str]:
    yield "## Main comparison: en → fr → de, mean ± standard deviation over seeds\n"
    yield "| arm | retained loss | learned loss | forgetting | compute |\n|---|---|---|---|---|"
    base = next(iter(runs["sequential"].values()))["flops"]
    for arm, seeds in runs.items():
        found = list(seeds.values())
        learned = [run["learned_loss"] for run in found]
        forgotten = [_forgetting(run) for run in found]
        yield (
            f"| {arm} | {_spread([run['retained_loss'] for run in found])} | "
            f"{_spread(learned) if None not in learned else '–'} | "
            f"{_spread(forgotten) if None not in forgotten else '–'} | {found[0]['flops'] / base:.2f}× |"
        )


def _differences(runs: Mapping[str, Runs]) -> Iterator[str]:
    yield "## Differences, seed by seed: mean and 95 % interval (Student's t)\n"
    yield "| | retained loss | learned loss | forgetting |\n|---|---|---|---|"
    pairs = [("replay 5 %", "sequential"), ("replay 25 %", "sequential"), ("replay 50 %", "sequential"),
             ("reptile", "sequential"), ("replay 50 %", "replay 25 %"), ("mer 5 %", "replay 5 %"),
             ("mer 25 %", "replay 25 %"), ("mer 50 %", "replay 50 %"), ("replay 50 %", "joint")]  # fmt: skip
    for one, other in pairs:
        cells = []
        for figure in (lambda run: run["retained_loss"], lambda run: run["learned_loss"], _forgetting):
            both = [(figure(runs[one][seed]), figure(runs[other][seed])) for seed in runs[one]]
            cells.append(_interval([a - b for a, b in both]) if None not in sum(both, ()) else "–")
        yield f"| {one} − {other} | {' | '.join(cells)} |"


def _interval(values: list[float]) -> str:
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.mean(values)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def _five(found: Mapping[str, Any]) -> Iterator[str]:
    (runs,) = [point["runs"] for point in found["sweep"]["points"]]
    earlier = found["eval_all"]["languages"][:-1]
    columns = {name: _forgetting_of(name) for name in earlier} | {
        "retained loss": lambda run: run["retained_loss"], "learned loss": lambda run: run["learned_loss"],
    }  # fmt: skip
    yield "## Five languages: forgetting by language, and mean losses, mean ± standard deviation over seeds\n"
    yield f"| arm | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for arm in found["eval_all"]["params"]["arms"]:
        cells = [[figure(run) for run in runs[arm].values()] for figure in columns.values()]
        yield f"| {arm} | {' | '.join('–' if None in cell else _spread(cell) for cell in cells)} |"
    pairs = [("replay", "sequential"), ("mer", "replay"), ("replay", "joint")]
    for one, other in pairs:
        cells = [
            [(figure(runs[one][seed]), figure(runs[other][seed])) for seed in runs[one]] for figure in columns.values()
        ]
        shown = ["–" if None in sum(cell, ()) else _interval([a - b for a, b in cell]) for cell in cells]
        yield f"| {one} − {other} (95 %) | {' | '.join(shown)} |"


def _forgetting_of(language: str) -> Callable[[Any], float | None]:
    return lambda run: run["forgetting"][language] if run["forgetting"] else None


def _tasks(found: Any) -> Iterator[str]:
    arms, tasks = found["arms"], found["tasks"]
    last = found["languages"][-1]
    yield "## Zero-shot tasks: 100 questions of each, after the last language, one seed\n"
    yield f"| task | metric | chance | untrained | {' | '.join(arms)} |"
    yield "|---" * (len(arms) + 4) + "|"
    for name, task in tasks.items():
        chance = "–" if task["chance"] is None else f"{task['chance']:.3f}"
        cells = [
            f"{figures['tasks']['joint' if arm == 'joint' else last][name]['mean']:.3f}"
            for arm, figures in arms.items()
        ]
        untrained = next(iter(arms.values()))["tasks"]["init"][name]["mean"]
        yield f"| {name} | {task['metric']} | {chance} | {untrained:.3f} | {' | '.join(cells)} |"


def _windows(rate_is: str, sweep: Any) -> Iterator[str]:
    yield f"## ε, k and a learning rate that is {rate_is}: smallest size, replay 25 %, one seed\n"
    yield "| learning rate | k | ε | retained loss | learned loss | forgetting |\n|---|---|---|---|---|---|"
    shown = set()
    for point in sweep["points"]:
        values = point["values"]
        rate, window, step = (values[key] for key in ("train.learning_rate", "mer.interval", "mer.step_size"))
        for arm, place in (("replay", "– | – (replay alone)"), ("mer", f"{window} | {step}")):
            if (rate, place) not in shown:
                shown.add((rate, place))
                (run,) = point["runs"][arm].values()
                yield (
                    f"| {rate:g} | {place} | {run['retained_loss']:.3f} | {run['learned_loss']:.3f} | "
                    f"{_forgetting(run):+.3f} |"
                )


def _constant(sweep: Any) -> Iterator[str]:
    yield "## MER where the learning rate stays at its peak: main size, replay 25 %, mean ± standard deviation\n"
    yield "| | retained loss | learned loss | forgetting |\n|---|---|---|---|"
    figures = (lambda run: run["retained_loss"], lambda run: run["learned_loss"], _forgetting)
    alone = sweep["points"][0]["runs"]["replay"]
    yield f"| replay alone | {' | '.join(_spread([figure(run) for run in alone.values()]) for figure in figures)} |"
    for point in sweep["points"]:
        step, found = point["values"]["mer.step_size"], point["runs"]["mer"]
        yield f"| ε = {step} | {' | '.join(_spread([figure(run) for run in found.values()]) for figure in figures)} |"
        less = [_interval([figure(found[seed]) - figure(alone[seed]) for seed in found]) for figure in figures]
        yield f"| ε = {step} − replay alone (95 %) | {' | '.join(less)} |"


def _sizes(scaling: Any) -> Iterator[str]:
    points = scaling["points"]
    rates = sorted({point["rate"] for point in points})
    yield "## Retained loss by size and replay rate, mean over seeds\n"
    yield f"| parameters | MFLOPs a token | {' | '.join(f'{100 * rate:g} %' for rate in rates)} |"
    yield "|---" * (len(rates) + 2) + "|"
    for size in sorted({(point["flops_per_token"], point["parameters"]) for point in points}):
        cells = [
            statistics.mean(p["retained_loss"] for p in points if (p["flops_per_token"], p["rate"]) == (size[0], rate))
            for rate in rates
        ]
        yield f"| {size[1]:,} | {size[0] / 1e6:.2f} | {' | '.join(f'{cell:.3f}' for cell in cells)} |"


def _exchange(scaling: Any) -> Iterator[str]:
    yield "## Laws and exchange rates\n"
    for fit in scaling["fits"]:
        ranges = ", ".join(
            f"{name} = {value:.4g} [{fit['ci95'][name][0]:.4g}, {fit['ci95'][name][1]:.4g}]"
            for name, value in fit["coefficients"].items()
        )
        yield f"- {fit['arm']} {100 * fit['rate']:g} %, {fit['measure']}: {fit['law']}; {ranges}. {fit['why']}"
    yield "\n| replay rate | parameters | growth that retains as much | 95 % | cost of replay | |"
    yield "|---|---|---|---|---|---|"
    for row in scaling["exchange"]:
        growth = f"{row['growth']:.2f}×" if row["growth"] else "–"
        low, high = row["ci95"] or (0, 0)
        interval = f"{low:.2f} to {high:.2f}" if low < high else "–"  # else all of it lies beyond what is followed
        yield (
            f"| {100 * row['rate']:g} % | {row['at_parameters']:,} | {growth} | {interval} | "
            f"{row['replay_cost']:.2f}× | {row['why']} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
