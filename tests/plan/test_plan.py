"""The plan against closed forms, a real model, the paper's accounting, and finished training runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.plans import BASE, by_label, plan_of
from transformers import LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from palimpsest.cli import main
from palimpsest.experiment.build_specs import data_fingerprints, pool_spec
from palimpsest.experiment.inventory import Inventory
from palimpsest.experiment.lineage import lineages
from palimpsest.model.hf_checkpoint import random_llama
from palimpsest.model.llama_config import llama_config
from palimpsest.params import parse
from palimpsest.plan.build_plan import build_plan
from palimpsest.plan.model_size import model_size
from palimpsest.plan.plan_table import format_plan
from palimpsest.plan.run_plan import plan_json
from palimpsest.replay.build_pool import build_pool
from palimpsest.settings.model import PRESETS
from palimpsest.specs.training import RandomModel
from palimpsest.train.init_model import init_model
from palimpsest.train.trainer import train
from palimpsest.train.training_parts import Inputs

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "examples" / "paper.yaml"
VOCAB = 128_256
STEPS, SEQUENCES, CONTEXT = 11_921, 4096, 2048


def paper(**changes: Any) -> dict[str, Any]:
    values = yaml.safe_load(PAPER.read_text())
    for dotted, value in changes.items():
        section, _, key = dotted.partition("__")
        values[section] = {**values[section], key: value} if key else value
    return values


@pytest.mark.parametrize(("preset", "about"), [("99M", 180), ("560M", 552), ("1B", None), ("6B", None)])
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_those_of_the_real_model(preset, about, tied):
    layers, width, heads, ffn = PRESETS[preset]
    shape = RandomModel(layers=layers, width=width, heads=heads, ffn=ffn, tie_embeddings=tied)
    size = model_size(shape, preset, VOCAB, CONTEXT)
    with torch.device("meta"):
        model = random_llama(llama_config(shape, context_length=CONTEXT, vocab_size=VOCAB), 0, 0)
    assert isinstance(model, LlamaForCausalLM)
    assert size.parameters == sum(weight.numel() for weight in model.parameters())
    block = 4 * width**2 + 3 * width * ffn + 2 * width
    assert size.parameters == layers * block + width + VOCAB * width * (1 if tied else 2)
    assert size.parameters - size.embeddings == layers * block + width
    if about and not tied:
        assert round(size.parameters / 1e6) == about
    forward = layers * (2 * 4 * width**2 + 4 * CONTEXT * width + 2 * 3 * width * ffn) + 2 * VOCAB * width
    assert size.training_flops_per_token == 3 * forward


def test_a_pretrained_model_has_its_own_shape_and_vocabulary(tmp_path, monkeypatch):
    """Grouped keys, biases, tied embeddings and a vocabulary of its own."""
    config = Qwen2Config(
        hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=304, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(tmp_path / "pretrained")
    (tmp_path / "pretrained" / "tokenizer.json").write_text("{}")
    plan = plan_of(tmp_path, BASE | {"model": {"path": str(tmp_path / "pretrained")}})
    (found,) = plan.models
    assert found.parameters == sum(weight.numel() for weight in model.parameters())
    assert (found.embeddings, found.vocab_size, found.tied) == (304 * 32, 304, True)
    monkeypatch.setattr("palimpsest.hub.Repository.file", lambda _, file, **__: tmp_path / "pretrained" / file)
    from_hub = plan_of(tmp_path, BASE | {"model": {"hub": "some/model", "revision": "a" * 40}})
    assert from_hub.models[0].parameters == found.parameters
    plan_of(tmp_path, BASE | {"model": {"path": str(tmp_path / "pretrained")}})
    (tmp_path / "pretrained" / "config.json").write_text("{}")
    assert main(["plan", str(tmp_path / "params.yaml")]) == 1


def test_the_accounting_of_the_paper(tmp_path):
    """100.0 B new tokens per language; 1.33x and 2x the compute in a stage that replays; all by closed forms."""
    new = STEPS * SEQUENCES * CONTEXT
    assert f"{new / 1e9:.1f}" == "100.0"
    per_token = 3 * (24 * (8 * 1024**2 + 4 * CONTEXT * 1024 + 6 * 1024 * 2560) + 2 * VOCAB * 1024)
    for rate, factor in ((0.25, 4 / 3), (0.5, 2.0)):
        plan = plan_of(tmp_path, paper(replay__rate=rate, model__preset="560M"), gpus=64)
        stages = by_label(plan)
        replays = f"fr+r{rate * 100:.0f}+mer"
        assert {stages[path].new_tokens for path in ("en", "en/fr", f"en/{replays}")} == {new}
        assert stages["en"].steps == STEPS and stages["en"].replayed_tokens == 0
        ratio = stages[f"en/{replays}"].flops / stages["en"].flops
        assert ratio == pytest.approx(factor, rel=1e-7)
        assert stages[f"en/{replays}"].compute_over_budget == ratio
        assert stages["en"].flops == new * per_token
        # one base model, two more stages in each of three arms, and joint, which counts as three stages
        assert plan.arms.stages == 8
        assert plan.arms.new_tokens == (1 + 3 * 2 + 3) * new
        assert plan.arms.flops == pytest.approx((1 + 2 + 2 * 2 * factor + 3) * new * per_token, rel=1e-7)
        assert plan.arms.gpu_hours == pytest.approx(plan.arms.flops / (989e12 * 0.4) / 3600)


@pytest.mark.parametrize("preset", ["99M", "1B", "6B"])
def test_the_papers_params_can_be_planned_at_other_sizes(tmp_path, preset):
    plan = plan_of(tmp_path, paper(model__preset=preset), gpus=64)
    assert plan.models[0].name == preset
    assert plan.disk.total > 1e12
    assert {text.needed for text in plan.disk.languages.values()} == {STEPS * SEQUENCES * CONTEXT}
    assert all(text.train_tokens > text.needed for text in plan.disk.languages.values())


def test_only_oscars_revision_is_left_to_fill_in_the_papers_params():
    values = yaml.safe_load(PAPER.read_text())
    sources = values["corpus"]["sources"]
    assert {sources[language].get("revision") for language in sources} == {None, "0" * 40}
    assert (values["mer"]["interval"], values["mer"]["step_size"], values["replay"]["rate"]) == (500, 0.1, 0.25)
    assert PAPER.read_text().count("0" * 40) == 1


SMALL = {
    "languages": ["en", "fr", "de"],
    "arms": ["sequential", "replay", "reptile", "mer", "joint"],
    "corpus": {"sources": {language: {"kind": "sample"} for language in ("en", "fr", "de")}},
    "tokenizer": {"vocab_size": 300},
    "model": {"preset": "nano", "layers": 1, "width": 16, "heads": 2, "ffn": 24},
    "train": {"steps": 5, "batch_size": 3, "context_length": 16, "eval_interval": 100, "alignment_interval": None},
    "replay": {"rate": 0.3, "rates": {"de": 0.5}, "scope": "capacity", "capacity": 12},
    "mer": {"interval": 2},
}


@pytest.mark.slow
def test_the_plan_equals_the_ledgers_and_files_of_finished_runs(tmp_path, tokens, tokenizer):
    """Every lineage is really trained: ledgers, parameters, FLOPs, and the bytes on disk afterwards."""
    plan = plan_of(tmp_path, SMALL)
    seen = {stage.lineage: stage for stage in plan.stages}
    params = parse(SMALL, "here")
    runs, pools, ran = tmp_path / "runs", tmp_path / "replay", {}
    for seeds in lineages(
        params, data_fingerprints(params, {language: Inventory() for language in params.languages})
    ).values():
        for lineage in seeds[0]:
            out = runs / lineage.path
            if lineage.parent is None:
                init_model(lineage.initial, tokenizer, out)
            elif lineage.path not in ran:
                if lineage.replays:
                    build_pool(pool_spec(lineage.training), tokens, pools / lineage.path)
                inputs = Inputs(
                    parent=runs / lineage.parent.path, tokenizer=tokenizer, tokens=tokens,
                    pool=pools / lineage.path if lineage.replays else None,
                )  # fmt: skip
                ran[lineage.path] = train(lineage.training, inputs, out).counts
    assert seen.keys() == ran.keys()
    for path, counts in ran.items():
        for name in ("steps", "new_tokens", "replayed_tokens", "total_tokens", "flops"):
            assert getattr(seen[path], name) == counts["ledger"][name], (path, name)
        assert seen[path].parameters == counts["parameters"]
    assert plan.arms.flops == sum(counts["ledger"]["flops"] for counts in ran.values())
    written = sum(file.stat().st_size for file in runs.rglob("*.safetensors"))
    headers = 4096 * len(list(runs.rglob("*.safetensors")))
    assert written - headers < plan.disk.checkpoints - 250 * plan.all.steps <= written
    held = sum(file.stat().st_size - 128 for file in pools.rglob("reservoir.npy"))
    assert held == plan.disk.pools - 1_000 * len(list(pools.rglob("reservoir.npy"))) > 0


def test_stages_of_arms_and_sweep_are_counted_once(tmp_path):
    alone = plan_of(tmp_path, BASE)
    swept = plan_of(tmp_path, BASE | {"sweep": {"replay.rate": [0.25, 0.5], "model.preset": ["tiny", "nano"]}})
    assert swept.arms == alone.arms and alone.sweep is None
    labels = [(stage.model, stage.lineage) for stage in swept.stages]
    assert len(set(labels)) == len(labels) == swept.all.stages
    # tiny at rate 0.25 is what the arms have; tiny at 0.5 adds four stages, nano sequential, joint and the base, too
    assert swept.sweep is not None and swept.sweep.stages == 4 + (1 + 2 + 1) + 2 * 4
    assert [model.name for model in swept.models] == ["tiny", "nano"]
    assert {tuple(stage.arms) for stage in by_label(alone).values() if stage.stage == "en"} == {
        ("sequential", "replay", "mer")
    }


def test_wall_time_waits_for_parents_and_gpus(tmp_path):
    """Four arms on two GPUs, by hand, in units of the first stage: as in the comment."""
    plan = plan_of(tmp_path, BASE | {"train": {"steps": 3000}}, gpus=2)
    unit = by_label(plan)["en"].wall_hours
    # en 0-1, joint 0-3; r25 1-2⅓, mer 2⅓-3⅔ (longer chains go first); fr 3-4; de+r25 3⅔-5, de+mer 4-5⅓, de 5-6
    assert plan.all.wall_hours / unit == pytest.approx(6, rel=1e-3)
    assert plan.all.longest_chain.hours / unit == pytest.approx(1 + 8 / 3, rel=1e-3)
    assert plan.all.busy_hours / unit == pytest.approx((1 + 2 + 4 * 4 / 3 + 3) / 2, rel=1e-3)
    one, many = plan_of(tmp_path, BASE, gpus=1).all, plan_of(tmp_path, BASE, gpus=100).all
    assert one.wall_hours == pytest.approx(one.busy_hours)
    assert many.wall_hours == pytest.approx(many.longest_chain.hours)


def test_a_run_on_four_gpus_takes_a_quarter_of_the_time(tmp_path):
    shared = {"train": {"processes": 4}}
    alone, four = plan_of(tmp_path, BASE).all, plan_of(tmp_path, BASE | shared)
    assert four.gpus.count == 4
    assert four.all.wall_hours == pytest.approx(alone.wall_hours / 4)
    assert four.all.gpu_hours == alone.gpu_hours
    eight, nine = (plan_of(tmp_path, BASE | shared, gpus=gpus).all for gpus in (8, 9))
    assert nine.wall_hours == eight.wall_hours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "abacus"], "--gpu abacus: its peak FLOP/s are unknown; known GPUs are B200, H200"),
        (["--mfu", "40"], "--mfu 40.0: must be above 0 and at most 1"),
        (["--gpus", "0"], "--gpus 0: one run uses 1 (train.processes)"),
        (["--disk", "/nowhere"], "--disk /nowhere: No such file or directory"),
    ],
)
def test_arguments_that_cannot_be_planned_are_refused(arguments, message, capsys):
    assert main(["plan", str(ROOT / "params.yaml"), *arguments]) == 1
    assert f"error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "file", sorted([ROOT / "params.yaml", *(ROOT / "examples").glob("*.yaml")]), ids=lambda p: p.name
)
def test_the_table_fits_a_screen_and_has_every_stage(file, tmp_path):
    plan = build_plan(file, "H100 NVL", 64, 0.4, tmp_path)
    value = plan_json(plan)
    assert json.loads(json.dumps(value)) == value and value["cards"]["count"] == 64
    text = format_plan(plan)
    assert max(map(len, text.splitlines())) <= 112
    rows = [line.split()[0] for line in text.splitlines() if line]
    for stage in plan.stages:
        assert stage.lineage.split("/")[-1].rpartition(".")[0] in rows
    assert f"{plan.all.steps:,}" in text and plan.disk.folder in text
