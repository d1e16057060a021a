"""What the report says of replay against growth worth 1.7: cheaper or dearer, by the compute of whole lineages."""

from pathlib import Path

import pytest
from support.replay_cost import replay_costs

from palimpsest.evaluate import power_law
from palimpsest.evaluate.results.scaling_results import read_scaling_results
from palimpsest.report.scaling_table import verdict


@pytest.mark.parametrize(
    ("rates", "replay_is_cheaper"),
    [([0.5], True), ([0.5, 0.5], True), ([0.5] * 4, False), ([0.25, 0.5], True)],
    ids=str,
)
def test_the_cheaper_of_replay_and_growth_is_named(
    rates: list[float], replay_is_cheaper: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power_law, "RESAMPLES", 200)
    replay_costs(tmp_path, rates)
    said = {verdict(entry) for entry in read_scaling_results(tmp_path / "scaling.json").exchange}
    verdicts = (
        "A larger model retains as much at lower cost than replay",
        "Replay costs less than the larger model that retains as much",
    )
    assert said == {verdicts[replay_is_cheaper]}
