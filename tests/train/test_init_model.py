"""Starting from a pretrained model: adopted to the bit, or refused with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.training import CONTEXT, Stage
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from palimpsest.artifact import Manifest, write_manifest
from palimpsest.errors import ParamsError, TrainingError
from palimpsest.experiment import build_specs
from palimpsest.experiment.build_specs import model_spec
from palimpsest.settings.model import Model
from palimpsest.specs.training import FolderModel, InitSpec
from palimpsest.train.init_model import init_model
from palimpsest.train.metrics import ValidationRecord, read_metrics

SIZES = {
    "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 304,
}  # fmt: skip


@pytest.fixture(params=["llama", "qwen2"])
def elsewhere(request: pytest.FixtureRequest, tokenizer: Path, tmp_path: Path) -> Path:
    """A small model with the tokenizer beside it, and four embeddings more than that has entries."""
    torch.manual_seed(0)
    model = (
        LlamaForCausalLM(LlamaConfig(**SIZES)) if request.param == "llama" else Qwen2ForCausalLM(Qwen2Config(**SIZES))
    )
    model.save_pretrained(tmp_path / "elsewhere")
    shutil.copy(tokenizer / "tokenizer.json", tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def build(folder: Path, tokenizer: Path, out: Path, context_length: int = CONTEXT) -> Manifest:
    model = FolderModel(path=str(folder), content="")
    return init_model(InitSpec(model=model, context_length=context_length, seed=0, data_fingerprint=""), tokenizer, out)


def test_its_weights_are_adopted_and_trained_on(
    elsewhere: Path, english: Stage, tokenizer: Path, tmp_path: Path
) -> None:
    build(elsewhere, tokenizer, tmp_path / "init")
    given, adopted = (load_file(folder / "model.safetensors") for folder in (elsewhere, tmp_path / "init"))
    assert given.keys() == adopted.keys()
    assert all(torch.equal(given[name], adopted[name]) for name in given)
    english.with_inputs(parent=tmp_path / "init").train(tmp_path / "en")
    records = read_metrics(tmp_path / "en" / "metrics.jsonl")
    points = [record.validation["en"] for record in records if isinstance(record, ValidationRecord)]
    assert points[-1] < points[0] - 0.2
    config = json.loads((tmp_path / "en" / "config.json").read_text())
    assert config["model_type"] == json.loads((elsewhere / "config.json").read_text())["model_type"]


def test_neither_dropout_nor_other_stop_tokens_are_adopted(elsewhere: Path, tokenizer: Path, tmp_path: Path) -> None:
    config = json.loads((elsewhere / "config.json").read_text())
    (elsewhere / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    stops = {"eos_token_id": [3, 7], "bos_token_id": 5, "transformers_version": "5.0.0"}
    (elsewhere / "generation_config.json").write_text(json.dumps(stops))
    build(elsewhere, tokenizer, tmp_path / "init")
    assert AutoConfig.from_pretrained(tmp_path / "init").attention_dropout == 0
    generation = GenerationConfig.from_pretrained(tmp_path / "init")
    assert generation.eos_token_id == generation.bos_token_id == 0


def test_what_does_not_fit_is_refused(elsewhere: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"takes 64 tokens, but train\.context_length is 128"):
        build(elsewhere, tokenizer, tmp_path / "out", 128)
    (elsewhere / "tokenizer.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"elsewhere/tokenizer\.json: not a tokenizer\.json"):
        build(elsewhere, tokenizer, tmp_path / "out")
    (elsewhere / "tokenizer.json").unlink()
    with pytest.raises(TrainingError, match=r"elsewhere/tokenizer\.json: no such file.*save_pretrained"):
        build(elsewhere, tokenizer, tmp_path / "out")


def write_bpe(folder: Path) -> Path:
    """A byte-level BPE of 280 entries, learned from a few words; as data/tokenizer."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    made.train_from_iterator(
        ["the thin thing that then thinks of other things", "a rose arose in those rows"] * 9, trainer
    )
    assert made.get_vocab_size() == 280
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    counts = {"vocab_size": 280, "end_of_text": 0, "fertility": {}}
    write_manifest(folder, stage="tokenizer", params={}, inputs={}, files=[folder / "tokenizer.json"], counts=counts)
    return folder


def merge_less(read: dict[str, Any]) -> None:
    assert read["model"]["merges"].pop() == ["Ġth", "en"]


def lower_case(read: dict[str, Any]) -> None:
    read["normalizer"] = {"type": "Lowercase"}


def space_before(read: dict[str, Any]) -> None:
    read["pre_tokenizer"]["add_prefix_space"] = True


def other_word(read: dict[str, Any]) -> None:
    (name,) = (name for name, entry in read["model"]["vocab"].items() if entry == 279)
    read["model"]["vocab"]["zz"] = read["model"]["vocab"].pop(name)
    read["model"]["merges"] = [merge for merge in read["model"]["merges"] if "".join(merge) != name]


def token_more(read: dict[str, Any]) -> None:
    read["added_tokens"].append({**read["added_tokens"][0], "id": 280, "content": "<|user|>"})


def stripping_token(read: dict[str, Any]) -> None:
    read["added_tokens"][0]["rstrip"] = True


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (merge_less, "merges differ"),
        (lower_case, "normalizer differ"),
        (space_before, "pre_tokenizer differ"),
        (other_word, "vocab, merges differ"),
        (token_more, "added_tokens differ"),
        (stripping_token, "added_tokens differ"),
    ],
)
def test_a_tokenizer_that_tokenizes_differently_is_refused(
    elsewhere: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None], part: str
) -> None:
    made = write_bpe(tmp_path / "tokenizer")
    read = json.loads((made / "tokenizer.json").read_text())
    edit(read)
    (elsewhere / "tokenizer.json").write_text(json.dumps(read))
    before, after = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (made, elsewhere))
    text = "the Thing<|endoftext|>  <|user|> and then other things"
    assert before.encode(text).ids != after.encode(text).ids or edit is other_word
    with pytest.raises(TrainingError, match=rf"tokenizes text differently.*{part}; set tokenizer\.path"):
        build(elsewhere, made, tmp_path / "out")


def test_a_tokenizer_that_is_formatted_differently_is_the_same(elsewhere: Path, tmp_path: Path) -> None:
    """As transformers writes it again, and as older versions of tokenizers write merges and leave defaults out."""
    made = write_bpe(tmp_path / "tokenizer")
    fast = PreTrainedTokenizerFast(tokenizer_file=str(made / "tokenizer.json"), model_max_length=64)
    fast.add_special_tokens({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})
    fast.save_pretrained(elsewhere)
    build(elsewhere, made, tmp_path / "one")
    read = json.loads((made / "tokenizer.json").read_text())
    assert isinstance(read["model"]["merges"][0], list)
    read["model"]["merges"] = [" ".join(merge) for merge in read["model"]["merges"]]
    read |= {"truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}}
    read |= {"decoder": None, "post_processor": None}
    del read["model"]["dropout"], read["model"]["byte_fallback"]
    (elsewhere / "tokenizer.json").write_text(json.dumps(read, indent=2))
    build(elsewhere, made, tmp_path / "two")


def test_a_model_with_too_few_embeddings_or_weights_is_refused(
    elsewhere: Path, tokenizer: Path, tmp_path: Path
) -> None:
    weights = load_file(elsewhere / "model.safetensors")
    gone = dict(weights)
    gone.pop("model.layers.1.mlp.up_proj.weight")
    save_file(gone, elsewhere / "model.safetensors", {"format": "pt"})
    with pytest.raises(TrainingError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight \(1 in all\)"):
        build(elsewhere, tokenizer, tmp_path / "out")
    small = LlamaForCausalLM(LlamaConfig(**SIZES | {"vocab_size": 299}))
    small.save_pretrained(tmp_path / "small")
    shutil.copy(tokenizer / "tokenizer.json", tmp_path / "small")
    with pytest.raises(TrainingError, match="has 299 embeddings, but data/tokenizer has 300 entries"):
        build(tmp_path / "small", tokenizer, tmp_path / "out")


def test_pickled_weights_and_code_beside_them_are_refused(elsewhere: Path, tokenizer: Path, tmp_path: Path) -> None:
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


def test_the_spec_names_the_contents_and_a_folder_without_a_model_is_refused(elsewhere: Path, tmp_path: Path) -> None:
    shutil.copytree(elsewhere, tmp_path / "copy")
    one, copy = (model_spec(Model(path=str(folder))) for folder in (elsewhere, tmp_path / "copy"))
    assert isinstance(one, FolderModel) and isinstance(copy, FolderModel)
    assert one.content == copy.content and one.path != copy.path
    with pytest.raises(ParamsError, match=r"model\.path: .*expected a folder with config\.json, tokenizer\.json and"):
        model_spec(Model(path=str(tmp_path / "none")))
    (tmp_path / "copy" / "tokenizer.json").write_text("another")
    build_specs._content.cache_clear()
    changed = model_spec(Model(path=str(tmp_path / "copy")))
    assert isinstance(changed, FolderModel) and changed.content != one.content
