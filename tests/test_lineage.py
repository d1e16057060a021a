"""Which edits lead to which checkpoints: what is shared, what is found again, and what is trained from scratch."""

import copy
from itertools import pairwise
from typing import Any

import pytest

from palimpsest.codec import encode
from palimpsest.errors import ParamsError
from palimpsest.experiment.build_specs import data_fingerprints, pool_spec
from palimpsest.experiment.experiment import Experiment
from palimpsest.experiment.inventory import Inventory
from palimpsest.experiment.lineage import lineages
from palimpsest.params import parse, validate

VALUES: dict[str, Any] = {
    "languages": ["en", "fr", "de"],
    "arms": ["sequential", "replay", "reptile", "mer", "joint"],
    "corpus": {"sources": {language: {"kind": "sample"} for language in ("en", "fr", "de")}},
}
PARAMS = parse(VALUES, "params.yaml")

# No file of the user's own.
NONE = {language: Inventory() for language in PARAMS.languages}


def edited(point):
    """The params with some dotted keys changed, as by an edit of the file."""
    values = copy.deepcopy(VALUES)
    for dotted, value in point.items():
        *sections, key = dotted.split(".")
        target = values
        for section in sections:
            target = target.setdefault(section, {})
        target[key] = value
    return validate(values, "params.yaml")


def paths(point=None, inventories=None):
    """Arm → the checkpoints of its lineage, first to last."""
    params = edited(point) if point else PARAMS
    found = lineages(params, data_fingerprints(params, NONE | (inventories or {})))
    return {arm: [lineage.path for lineage in seeds[0]] for arm, seeds in found.items()}


def test_a_path_is_the_history_of_its_checkpoint():
    last = paths()["mer"][-1].split("/")
    assert [segment.rsplit(".", 1)[0] for segment in last] == ["tiny-s0", "en", "fr+r25+mer", "de+r25+mer"]
    assert paths({"replay.rate": 0.125})["replay"][-1].split("/")[-1].startswith("de+r12.5.")
    assert paths()["reptile"][-1].split("/")[-1].startswith("de+reptile.")


def test_a_pretrained_model_is_named_in_the_path(tmp_path):
    found = paths({"model.hub": "some/Llama-1B", "model.revision": "a" * 40})
    assert found["mer"][0].startswith("Llama-1B-s0.")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "tokenizer.json", "model.safetensors"):
            (tmp_path / name / file).write_text("{}")
    one, two = (paths({"model.path": str(tmp_path / name)}) for name in ("one", "two"))
    assert one == two and one["mer"][0].startswith("given-s0.")


def test_the_folder_above_is_the_parent():
    for chain in paths().values():
        for parent, child in pairwise(chain):
            assert child.rsplit("/", 1)[0] == parent


def test_all_arms_share_the_first_stage_and_joint_the_initial_model():
    found = paths()
    assert len({found[arm][1] for arm in ("sequential", "replay", "reptile", "mer")}) == 1
    assert len({chain[0] for chain in found.values()}) == 1
    assert len(found["joint"]) == 2


@pytest.mark.parametrize(
    ("point", "changed"),
    [
        ({"replay.rate": 0.5}, {"replay", "mer"}),
        ({"replay.scope": "balanced"}, {"replay", "mer"}),
        ({"replay.scope": "seen"}, {"replay", "mer"}),
        ({"replay.accounting": "replace"}, {"replay", "mer"}),
        ({"mer.step_size": 0.3}, {"reptile", "mer"}),
        ({"mer.interval": 10}, {"reptile", "mer"}),
    ],
)
def test_an_edit_of_the_method_leaves_the_first_stage_and_the_other_arms(point, changed):
    before, after = paths(), paths(point)
    for arm in before:
        assert before[arm][:2] == after[arm][:2] or arm == "joint"
        assert (before[arm] != after[arm]) == (arm in changed)
        if arm in changed:
            assert not set(before[arm][2:]) & set(after[arm][2:])


@pytest.mark.parametrize(
    "point",
    [
        {"train.learning_rate": 5e-4}, {"train.steps": 100}, {"train.batch_size": 8}, {"train.threads": 2},
        {"train.optimizer_state": "reset"}, {"train.schedule": "single_cosine"}, {"model.layers": 3},
        {"model.preset": "nano"}, {"seeds": [1]}, {"tokenizer.vocab_size": 1000}, {"corpus.exact_dedup": False},
        {"corpus.filters.gopher_quality.min_doc_words": 10}, {"corpus.minhash": None}, {"train.context_length": 64},
    ],
)  # fmt: skip
def test_an_edit_of_anything_that_shapes_the_models_retrains_every_stage(point):
    params = edited(point)
    found = lineages(params, data_fingerprints(params, NONE))
    after = {lineage.path for seeds in found.values() for last in seeds.values() for lineage in last}
    trained = {path for path in after if "/" in path}
    assert not trained & {path for chain in paths().values() for path in chain}


@pytest.mark.parametrize(
    "point",
    [
        {"evaluate.max_tokens": 5}, {"arms": ["mer"]}, {"train.checkpoint_interval": 7}, {"train.keep_checkpoints": 2},
        {"train.loggers": ["wandb"]}, {"train.on_bad_step": "skip"},
    ],
)  # fmt: skip
def test_an_edit_of_what_shapes_no_model_changes_no_path(point):
    assert paths(point).items() <= paths().items()


def test_taking_an_edit_back_finds_the_old_lineage():
    assert paths({"replay.rate": 0.25}) == paths() == paths({"replay.rate": 0.250})


def test_rate_0_is_the_sequential_arm():
    found = paths({"replay.rate": 0})
    assert found["replay"] == found["sequential"]
    assert found["mer"] == found["reptile"]


def test_a_changed_local_file_is_another_lineage_and_a_moved_one_is_not(tmp_path):
    def of(path, digest):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("text")
        return paths(
            {"corpus.sources": {**SAMPLES, "fr": {"kind": "local", "path": str(tmp_path / path)}}},
            {"fr": Inventory(sources={"local": digest})},
        )

    SAMPLES = {language: {"kind": "sample"} for language in ("en", "de")}
    assert of("a/t.txt", "1") == of("b/t.txt", "1")
    assert of("a/t.txt", "1")["replay"][1] != of("a/t.txt", "2")["replay"][1]


def test_a_pool_spec_says_how_much_of_each_past_language_was_trained_on():
    params = edited({"replay.accounting": "replace"})
    last = lineages(params, data_fingerprints(params, NONE))["replay"][0]
    spec = encode(pool_spec(last.training))
    budget = PARAMS.train.steps * PARAMS.train.batch_size
    assert spec["past"] == [
        {"language": "en", "sequences": budget, "replay": None},
        {"language": "fr", "sequences": budget, "replay": {"rate": "0.25", "accounting": "replace"}},
    ]
    assert last.past == ["en", "fr"]


def test_an_existing_tokenizer_counts_by_its_contents_and_not_by_its_path(tmp_path):
    def of(name, text):
        (tmp_path / name).write_text(text)
        return paths({"tokenizer.path": str(tmp_path / name)})

    assert of("a.json", "1") == of("b.json", "1") != of("a.json", "2")


def test_a_language_may_have_a_rate_of_its_own():
    found, before = paths({"replay.rates": {"de": 0.5}}), paths()
    segments = [segment.rsplit(".", 1)[0] for segment in found["mer"][-1].split("/")]
    assert segments == ["tiny-s0", "en", "fr+r25+mer", "de+r50+mer"]
    assert found["replay"][:3] == before["replay"][:3] and found["replay"][3] != before["replay"][3]
    assert paths({"replay.rates": {"fr": 0.25, "de": 0.25}}) == before


def test_a_rate_of_0_for_a_language_replays_nothing_in_its_stage():
    found = paths({"replay.rates": {"fr": 0}})
    assert found["replay"][:3] == paths()["sequential"][:3]
    assert found["replay"][3].split("/")[-1].startswith("de+r25.")
    params = edited({"replay.rates": {"fr": 0}})
    spec = pool_spec(lineages(params, data_fingerprints(params, NONE))["replay"][0].training)
    assert [past.replay for past in spec.past] == [None, None] and str(spec.replay.rate) == "0.25"


@pytest.mark.parametrize("language", ["en", "it"])
def test_a_rate_for_a_language_without_a_stage_that_replays_is_refused(language):
    with pytest.raises(
        ParamsError, match=f"replay.rates: '{language}' has no stage that replays; those after the first do: fr, de"
    ):
        paths({"replay.rates": {language: 0.5}})


def test_capacity_and_its_scope_go_together():
    assert paths({"replay.scope": "capacity", "replay.capacity": 9})["mer"] != paths()["mer"]
    for point in ({"replay.scope": "capacity"}, {"replay.capacity": 9}):
        with pytest.raises(ParamsError, match="go together"):
            edited(point)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"evaluate": {"tasks": ["pika"]}}, "evaluate.tasks: there is no task 'pika'"),
        ({"model": {"path": "nowhere"}}, "model.path: 'nowhere': expected a folder with config.json"),
        ({"replay": {"rates": {"en": 0.5}}}, "replay.rates: 'en' has no stage"),
    ],
)
def test_an_error_about_what_a_value_refers_to_names_the_params_file(tmp_path, edit, message):
    values = VALUES | edit
    with pytest.raises(ParamsError, match=rf"^mine\.yaml: {message}"):
        Experiment(values, tmp_path / "inventory.json", "mine.yaml")
