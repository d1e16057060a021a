"""The whole job: equal bytes whatever the number of cores, and forgetting that replay removes."""

import json

import pytest
import yaml

pytestmark = pytest.mark.slow


def manifests(folder):
    """Every manifest by its path, as bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("data", "runs", "results")
        for path in (folder / part).rglob("manifest.json")
    }


@pytest.fixture(scope="module")
def elsewhere(project, tmp_path_factory):
    """Runs Snakemake in an empty folder with other params."""

    def run(cores, params):
        folder = tmp_path_factory.mktemp("elsewhere")
        (folder / "given.yaml").write_text(yaml.safe_dump(params))
        project.run(
            "snakemake", "--cores", str(cores), "--directory", str(folder), "--configfile", str(folder / "given.yaml")
        )
        return folder

    return run


def test_one_core_and_two_and_the_same_again_give_equal_bytes(project, elsewhere):
    """All manifests hold hashes of all files, so that equal manifests are equal data, weights and losses."""
    params = project.small | {"arms": ["replay", "mer"]}
    one, two = elsewhere(1, params), elsewhere(2, params)
    assert len(manifests(one)) == 17
    assert manifests(one) == manifests(two)
    for name in ("eval_all.json", "metrics.json", "report.html", "plots/loss_curves.csv"):
        assert (one / "results" / name).read_bytes() == (two / "results" / name).read_bytes(), name
    for content in manifests(one).values():
        assert str(one).encode() not in content


def test_french_training_makes_english_forgotten_and_replay_removes_most_of_it(project, elsewhere):
    """The default params on the sample corpus, two languages and two arms of them."""
    defaults = yaml.safe_load((project.root / "params.yaml").read_text())
    folder = elsewhere(2, defaults | {"languages": ["en", "fr"], "arms": ["sequential", "replay"]})
    arms = json.loads((folder / "results" / "eval_all.json").read_text())["arms"]
    forgotten = {arm: arms[arm]["forgetting"]["en"]["mean"] for arm in arms}
    assert forgotten["sequential"] > 1
    assert forgotten["replay"] < 0.3 * forgotten["sequential"]
    assert arms["replay"]["tokens"]["replayed"] == 533 * 128  # of 1,600 new sequences: ⌊(⌊1599/0.75⌋ + 1) · 0.25⌋
    assert arms["sequential"]["tokens"] == {"new": 3200 * 128, "replayed": 0, "total": 3200 * 128}
