"""results/scaling.json from sweeps with planted laws, against the closed form of the results."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palimpsest.artifact import write_json
from palimpsest.errors import ArtifactError
from palimpsest.evaluate import power_law
from palimpsest.evaluate.scaling_analysis import analyse_scaling

SIZES = {"nano": 2_000_000, "tiny": 6_000_000, "small": 30_000_000, "99M": 400_000_000}
RATES = [0.0, 0.05, 0.25, 0.5]
Curve = Callable[[float, float], float]  # (FLOPs per token, rate) → loss


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_law, "RESAMPLES", 500)


def planted(size: float, rate: float) -> float:
    """Replay lowers the loss, and the more so the larger the model: exponents 0.05 + 0.02·rate."""
    return 9 * (1 - 0.2 * rate) * size ** -(0.05 + 0.02 * rate)


def run(name: str, arm: str, rate: float, seed: int, loss: float, settings: str = "") -> dict[str, Any]:
    """A seed's entry in sweep.json; runs of equal shape share a lineage, as real ones do."""
    kind = "" if not rate else f"+r{rate}"
    mer = "+mer" if arm == "mer" else ""
    return {
        "lineage": f"{name}-s{seed}/fr/en{kind}{mer}{settings if mer else ''}",
        "retained_loss": loss,
        "learned_loss": 0.9 * loss,
        "forgetting": {"fr": 0.1},
        "flops": round(1e3 * SIZES[name] / (1 - rate)),
        "parameters": int(SIZES[name] / 6),
        "flops_per_token": SIZES[name],
        "rate": rate,
        "accounting": "add" if rate else None,
    }


def sweep(
    curve: Curve = planted,
    sizes: int = 3,
    rates: list[float] = RATES,
    seeds: int = 3,
    noise: float = 0.0,
    draw: int = 0,
) -> list[dict[str, Any]]:
    """The points of a grid size × rate with the arms sequential and replay; the sizes have learning rates of their own.

    A seed's noise is the same for all rates of a size, as when the first stage is shared, but for a quarter of it.
    """
    points = []
    for name, rate in itertools.product(list(SIZES)[:sizes], rates):
        arms: dict[str, Any] = {"sequential": {}, "replay": {}}
        for arm, seed in itertools.product(arms, range(seeds)):
            used = rate if arm == "replay" else 0.0
            key = [draw, list(SIZES).index(name), seed]
            shared = np.random.default_rng(key).normal()
            own = np.random.default_rng([*key, int(1000 * used)]).normal()
            loss = curve(SIZES[name], used) * math.exp(noise * (shared + own / 4))
            arms[arm][str(seed)] = run(name, arm, used, seed, loss)
        extra = {"train.learning_rate": 4e-3, "train.betas": [0.9, 0.95]} if name == "nano" else {}
        points.append({"values": {"model.preset": name, "replay.rate": rate, **extra}, "runs": arms, "arms": {}})
    return points


def built(folder: Path, points: list[dict[str, Any]]) -> Any:
    write_json(folder / "sweep.json", {"format": "palimpsest.sweep/2", "points": points})
    analyse_scaling(folder / "sweep.json", folder / "scaling.json")
    return json.loads((folder / "scaling.json").read_text())


def pick(entries: list[Any], **wanted: Any) -> list[Any]:
    return [entry for entry in entries if all(entry[key] == value for key, value in wanted.items())]


def test_every_lineage_is_one_point_and_a_rate_of_0_is_sequential(tmp_path: Path) -> None:
    found = built(tmp_path, sweep())
    assert found["format"] == "palimpsest.scaling/1"
    assert [(point["arm"], point["rate"], point["flops_per_token"], point["seed"]) for point in found["points"]] == [
        (arm, rate, size, seed)
        for arm, rate in (("replay", 0.05), ("replay", 0.25), ("replay", 0.5), ("sequential", 0.0))
        for size in (2e6, 6e6, 3e7)
        for seed in range(3)
    ]
    first = found["points"][0]
    assert first == {
        "arm": "replay", "rate": 0.05, "accounting": "add", "seed": 0, "parameters": 333_333, "flops_per_token": 2e6,
        "flops": round(2e9 / 0.95), "retained_loss": planted(2e6, 0.05), "learned_loss": 0.9 * planted(2e6, 0.05),
        "values": {
            "model.preset": "nano", "replay.rate": 0.05, "train.betas": [0.9, 0.95], "train.learning_rate": 4e-3,
        },
    }  # fmt: skip
    # The rate of the sweep shapes no run without replay.
    assert found["points"][-1]["values"] == {"model.preset": "small"}


def test_fits_of_planted_laws(tmp_path: Path) -> None:
    fits = built(tmp_path, sweep())["fits"]
    assert [(fit["arm"], fit["rate"], fit["measure"]) for fit in fits] == [
        (arm, rate, measure)
        for arm, rate in (("replay", 0.05), ("replay", 0.25), ("replay", 0.5), ("sequential", 0.0))
        for measure in ("retained_loss", "learned_loss")
    ]
    for fit in fits:
        part = 0.9 if fit["measure"] == "learned_loss" else 1
        expected = {"A": 9 * part * (1 - 0.2 * fit["rate"]), "b": 0.05 + 0.02 * fit["rate"]}
        assert (fit["coefficients"], fit["law"], fit["tells"]) == (pytest.approx(expected), "L = A·C^(−b)", True)
        assert fit["values"] == {}
        ends = fit["curve"][0], fit["curve"][-1]
        assert [end["flops_per_token"] for end in ends] == pytest.approx([2e6, 3e7])
        for end in ends:
            assert end["loss"] == pytest.approx(part * planted(end["flops_per_token"], fit["rate"]))
            assert end["low"] == pytest.approx(end["loss"]) == end["high"]


def test_the_exchange_rate_has_its_closed_form(tmp_path: Path) -> None:
    """(A₀/L)^(1/b₀)/C, with L = A·C^(−b): A₀ = 9 and b₀ = 0.05 without replay."""
    entries = built(tmp_path, sweep())["exchange"]
    assert len(entries) == 9
    for entry in entries:
        rate, size = entry["rate"], entry["at_flops_per_token"]
        expected = (1 / (1 - 0.2 * rate)) ** 20 * size ** (0.4 * rate)
        assert entry["replay_cost"] == pytest.approx(1 / (1 - rate))
        assert (entry["arm"], entry["measure"], entry["accounting"]) == ("replay", "retained_loss", "add")
        assert entry["at_parameters"] == int(size / 6)
        limit = 10 * 3e7 / size
        if expected < limit:
            assert (entry["growth"], entry["tells"]) == (pytest.approx(expected), True)
            assert entry["ci95"] == pytest.approx([expected, expected])
            reach = "within" if expected * size < 3e7 else "extrapolated beyond"
            assert entry["why"].startswith(reach)
        else:
            assert (entry["growth"], entry["tells"]) == (None, False)
            assert entry["why"].startswith(f"> {limit:.3g}:") and "above the cost of replay" in entry["why"]
    assert {entry["tells"] for entry in entries} == {True, False}


def test_exchange_rates_of_laws_with_an_asymptote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E = 2 − rate/5: at 25 %, E₀ + 20·C'^(−0.2) = 1.95 + 20·C^(−0.2), if it is reached at all."""
    monkeypatch.setattr(power_law, "RESAMPLES", 50)
    entries = built(tmp_path, sweep(lambda c, rate: 2 - rate / 5 + 20 * c**-0.2, sizes=4, rates=[0.0, 0.25]))
    assert {fit["law"] for fit in entries["fits"]} == {"L = E + A·C^(−b)"}
    for entry in entries["exchange"]:
        size = entry["at_flops_per_token"]
        expected = (size**-0.2 - 0.05 / 20) ** -5 / size
        assert entry["growth"] == pytest.approx(expected, rel=1e-3)
    lower = sweep(lambda c, rate: 2 - 8 * rate + 20 * c**-0.2, sizes=4, rates=[0.0, 0.25])
    assert {entry["growth"] for entry in built(tmp_path, lower)["exchange"]} == {None}


@pytest.mark.slow
def test_the_interval_of_the_exchange_rate_covers(tmp_path: Path) -> None:
    """Noise of 0.2 % moves the growth by some 4 %. Of 60 draws 57 are expected to cover, give or take 1.7."""
    expected, covered, widths = 0.95**-20 * 6e6**0.1, 0, []
    for draw in range(60):
        entries = built(tmp_path, sweep(rates=[0.0, 0.25], noise=0.002, draw=draw))["exchange"]
        (entry,) = pick(entries, at_flops_per_token=6e6)
        covered += entry["ci95"][0] <= expected <= entry["ci95"][1]
        widths.append(entry["ci95"][1] / entry["ci95"][0])
    assert covered >= 53 and np.median(widths) < 1.5


def test_permuted_points_give_equal_bytes(tmp_path: Path) -> None:
    points = sweep(noise=0.01)
    built(tmp_path, points)
    before = (tmp_path / "scaling.json").read_bytes()
    built(tmp_path, [points[place] for place in np.random.default_rng(0).permutation(len(points))])
    assert (tmp_path / "scaling.json").read_bytes() == before


def test_other_settings_are_fitted_separately(tmp_path: Path) -> None:
    """ε shapes MER alone; a learning rate that is swept at every size shapes all."""
    points = []
    for name, step, rate in itertools.product(list(SIZES)[:3], (0.1, 0.5), (1e-3, 2e-3)):
        loss, tag = planted(SIZES[name], 0.25), f".e{step}"
        arms = {
            "sequential": {"0": run(name, "sequential", 0.0, 0, loss * (1 + rate))},
            "mer": {"0": run(name, "mer", 0.25, 0, loss * (1 - step / 10 + rate), tag)},
        }
        for seeds in arms.values():
            seeds["0"]["lineage"] += f".lr{rate}"
        values = {"model.preset": name, "mer.step_size": step, "train.learning_rate": rate}
        points.append({"values": values, "arms": {}, "runs": arms})
    found = built(tmp_path, points)
    settings = [(fit["arm"], fit["values"]) for fit in pick(found["fits"], measure="retained_loss")]
    assert settings == [
        *[("mer", {"mer.step_size": e, "train.learning_rate": lr}) for e in (0.1, 0.5) for lr in (1e-3, 2e-3)],
        *[("sequential", {"train.learning_rate": lr}) for lr in (1e-3, 2e-3)],
    ]
    for entry in pick(found["exchange"], at_flops_per_token=6e6):
        step, rate = entry["values"]["mer.step_size"], entry["values"]["train.learning_rate"]
        assert entry["growth"] == pytest.approx(((1 + rate) / (1 - step / 10 + rate)) ** (1 / 0.055))


def test_two_sizes_are_too_few(tmp_path: Path) -> None:
    found = built(tmp_path, sweep(sizes=2))
    assert {(fit["tells"], fit["why"]) for fit in found["fits"]} == {
        (False, "2 sizes; a law and its uncertainty need 3")
    }
    assert found["fits"][0]["curve"] == [] and found["fits"][0]["coefficients"] == {}
    for entry in found["exchange"]:
        assert (entry["growth"], entry["ci95"], entry["tells"]) == (None, None, False)
        assert entry["why"] == "with replay: 2 sizes; a law and its uncertainty need 3"


def test_without_sequential_runs_there_is_no_exchange_rate(tmp_path: Path) -> None:
    points = sweep(rates=[0.25])
    for point in points:
        del point["runs"]["sequential"]
    assert {entry["why"] for entry in built(tmp_path, points)["exchange"]} == {
        "the sweep has no model without replay of the same settings"
    }


def test_a_trend_hidden_by_noise_settles_nothing(tmp_path: Path) -> None:
    found = built(tmp_path, sweep(lambda _c, rate: 4 - rate, rates=[0.0, 0.25], noise=0.05))
    for fit in found["fits"]:
        low, high = fit["ci95"]["b"]
        assert low < 0 < high and not fit["tells"] and "no change with size is detected" in fit["why"]
    for entry in found["exchange"]:
        assert not entry["tells"] and "the loss without replay does not clearly decrease with size" in entry["why"]


def test_a_loss_that_rises_with_size_has_no_exchange_rate(tmp_path: Path) -> None:
    """Forgetting may grow with the model: the fit shows that, and no growth retains as much as replay."""
    found = built(tmp_path, sweep(lambda c, rate: (1 - rate) * c**0.1 if rate == 0 else c**0.01, rates=[0.0, 0.25]))
    (fit,) = pick(found["fits"], arm="sequential", measure="retained_loss")
    assert fit["tells"] and fit["coefficients"]["b"] == pytest.approx(-0.1)
    for entry in found["exchange"]:
        assert (entry["growth"], entry["tells"]) == (None, False)
        assert "does not clearly decrease" in entry["why"] and "> " in entry["why"]


def test_which_intervals_settle_the_exchange_rate(tmp_path: Path) -> None:
    """Falling without replay, uncut, and within a factor of ten: at these noises each is missed somewhere."""
    reasons: set[str | bool] = set()
    for noise, draw in itertools.product((0.01, 0.1), range(8)):
        found = built(tmp_path, sweep(sizes=4, rates=[0.0, 0.05], noise=noise, draw=draw))
        (fit,) = pick(found["fits"], arm="sequential", measure="retained_loss")
        for entry in found["exchange"]:
            (low, high), size = entry["ci95"], entry["at_flops_per_token"]
            cut, wide = low <= 2e5 / size or high >= 4e9 / size, high > 10 * low
            assert entry["tells"] == (fit["ci95"]["b"][0] > 0 and not cut and not wide)
            reasons |= {reason for reason in ("where it is cut", "a factor of 10") if reason in entry["why"]}
            beside = not low <= 1 / 0.95 <= high
            assert ("the cost of replay" in entry["why"]) == (beside and not entry["tells"])
            reasons.add(entry["tells"])
    assert reasons == {"where it is cut", "a factor of 10", True, False}


def test_runs_that_set_a_key_are_matched_with_runs_that_set_it_too(tmp_path: Path) -> None:
    """A weight decay that doubles every loss; runs that do not name one have that of the file."""
    points = sweep(rates=[0.0, 0.25], seeds=1)
    for point in json.loads(json.dumps(points)):
        for seeds in point["runs"].values():
            for entry in seeds.values():
                entry |= {"lineage": entry["lineage"] + ".decay", "retained_loss": 2 * entry["retained_loss"]}
        points.append(point | {"values": point["values"] | {"train.weight_decay": 0.2}})
    usual, doubled = (
        [entry["growth"] for entry in built(tmp_path, chosen)["exchange"]] for chosen in (points[:6], points)
    )
    assert doubled == pytest.approx([*usual, *usual])


def test_harmful_replay_is_a_growth_below_one(tmp_path: Path) -> None:
    found = built(tmp_path, sweep(lambda c, rate: (9 + rate / 2) * c**-0.05, rates=[0.0, 0.25]))
    for entry in found["exchange"]:
        assert entry["growth"] == pytest.approx((9 / 9.125) ** 20) and entry["tells"]
    harms = built(tmp_path, sweep(lambda c, rate: (9 + 20 * rate) * c**-0.05, rates=[0.0, 0.25]))
    assert all(entry["growth"] is None and entry["why"].startswith("< ") for entry in harms["exchange"])


def test_joint_has_no_learned_loss_and_an_empty_sweep_no_points(tmp_path: Path) -> None:
    points = sweep(rates=[0.0])
    for point in points:
        for seed, joint in point["runs"].pop("replay").items():
            changed = {"lineage": joint["lineage"] + "/joint", "learned_loss": None}
            point["runs"].setdefault("joint", {})[seed] = joint | changed
    fits = built(tmp_path, points)["fits"]
    assert [fit["measure"] for fit in pick(fits, arm="joint")] == ["retained_loss"]
    assert built(tmp_path, []) == {"format": "palimpsest.scaling/1", "points": [], "fits": [], "exchange": []}


def test_an_older_sweep_is_refused_by_name(tmp_path: Path) -> None:
    write_json(tmp_path / "sweep.json", {"format": "palimpsest.sweep/1", "points": []})
    with pytest.raises(
        ArtifactError, match=r"sweep\.json: format is 'palimpsest\.sweep/1', expected 'palimpsest\.sweep/2'"
    ):
        analyse_scaling(tmp_path / "sweep.json", tmp_path / "scaling.json")
