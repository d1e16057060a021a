"""Starting from a model that was trained elsewhere: taken over to the bit, or refused with the reason."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, GenerationConfig, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from palimpsest.errors import ParamsError, TrainingError
from palimpsest.params import Model
from palimpsest.train import initial
from palimpsest.train.loop import Inputs, train

SIZES = {
    "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 304,
}  # fmt: skip


@pytest.fixture(params=["llama", "qwen2"])
def elsewhere(request, tmp_path):
    """A small model, with four embeddings more than the tokenizer has entries."""
    torch.manual_seed(0)
    model = (
        LlamaForCausalLM(LlamaConfig(**SIZES)) if request.param == "llama" else Qwen2ForCausalLM(Qwen2Config(**SIZES))
    )
    model.save_pretrained(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def build(folder, tokenizer, out, context_length=16):
    spec = {"model": {"path": str(folder)}, "context_length": context_length, "seed": 0}
    return initial.build(spec, tokenizer, out)


def test_its_weights_are_taken_over_and_trained_on(elsewhere, spec, tokens, tokenizer, tmp_path):
    build(elsewhere, tokenizer, tmp_path / "init")
    given, taken = (load_file(folder / "model.safetensors") for folder in (elsewhere, tmp_path / "init"))
    assert given.keys() == taken.keys()
    assert all(torch.equal(given[name], taken[name]) for name in given)
    inputs = Inputs(parent=tmp_path / "init", tokenizer=tokenizer, tokens=tokens, pool=None)
    train(spec(1, "en"), inputs, tmp_path / "en", 1000)
    lines = [json.loads(line) for line in (tmp_path / "en" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation"]["en"] < lines[0]["validation"]["en"] - 0.2
    config = json.loads((tmp_path / "en" / "config.json").read_text())
    assert config["model_type"] == json.loads((elsewhere / "config.json").read_text())["model_type"]


def test_neither_dropout_nor_other_stop_tokens_are_taken_over(elsewhere, tokenizer, tmp_path):
    config = json.loads((elsewhere / "config.json").read_text())
    (elsewhere / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    stops = {"eos_token_id": [3, 7], "bos_token_id": 5, "transformers_version": "5.0.0"}
    (elsewhere / "generation_config.json").write_text(json.dumps(stops))
    build(elsewhere, tokenizer, tmp_path / "init")
    assert AutoConfig.from_pretrained(tmp_path / "init").attention_dropout == 0
    generation = GenerationConfig.from_pretrained(tmp_path / "init")
    assert generation.eos_token_id == generation.bos_token_id == 0


def test_what_does_not_fit_is_refused(elsewhere, tokenizer, tmp_path):
    with pytest.raises(TrainingError, match=r"takes 64 tokens, but train\.context_length is 128"):
        build(elsewhere, tokenizer, tmp_path / "out", 128)
    words = json.loads((tokenizer / "tokenizer.json").read_text())
    words["model"]["vocab"]["other"] = words["model"]["vocab"].pop("w7")
    (elsewhere / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(TrainingError, match=r"other tokens than the shards; set tokenizer\.path"):
        build(elsewhere, tokenizer, tmp_path / "out")
    shutil.copy(tokenizer / "tokenizer.json", elsewhere)
    build(elsewhere, tokenizer, tmp_path / "out")


def test_a_model_with_too_few_embeddings_or_weights_is_refused(elsewhere, tokenizer, tmp_path):
    weights = load_file(elsewhere / "model.safetensors")
    gone = dict(weights)
    gone.pop("model.layers.1.mlp.up_proj.weight")
    save_file(gone, elsewhere / "model.safetensors", {"format": "pt"})
    with pytest.raises(TrainingError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight \(1 in all\)"):
        build(elsewhere, tokenizer, tmp_path / "out")
    small = LlamaForCausalLM(LlamaConfig(**SIZES | {"vocab_size": 299}))
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(TrainingError, match="has 299 embeddings, but data/tokenizer has 300 entries"):
        build(tmp_path / "small", tokenizer, tmp_path / "out")


def test_pickled_weights_and_code_beside_them_are_refused(elsewhere, tokenizer, tmp_path):
    config = json.loads((elsewhere / "config.json").read_text())
    (elsewhere / "config.json").write_text(
        json.dumps(
            config | {"model_type": "own", "auto_map": {"AutoConfig": "code.Own", "AutoModelForCausalLM": "code.Own"}}
        )
    )
    (elsewhere / "code.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(TrainingError, match="not a causal LM that transformers can load"):
        build(elsewhere, tokenizer, tmp_path / "out")
    (elsewhere / "config.json").write_text(json.dumps(config))
    torch.save(load_file(elsewhere / "model.safetensors"), elsewhere / "pytorch_model.bin")
    (elsewhere / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match="not a causal LM that transformers can load from safetensors"):
        build(elsewhere, tokenizer, tmp_path / "out")


def test_the_spec_names_the_contents_and_a_folder_without_a_model_is_refused(elsewhere, tmp_path):
    shutil.copytree(elsewhere, tmp_path / "copy")
    one, copy = (Model(path=str(folder)).shape for folder in (elsewhere, tmp_path / "copy"))
    assert one["content"] == copy["content"] and one["path"] != copy["path"]
    with pytest.raises(ParamsError, match=r"model\.path: .*expected a folder with a config\.json"):
        _ = Model(path=str(tmp_path / "none")).shape
