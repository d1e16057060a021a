"""The language model: transformers' Llama, built from a shape or read from a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from palimpsest.artifact import sync
from palimpsest.errors import TrainingError

# A bar for each file that is read would bury the progress of training.
transformers_logging.disable_progress_bar()

_SAFE = {
    "dtype": torch.float32,
    "use_safetensors": True,
    "local_files_only": True,
    "trust_remote_code": False,
    "attn_implementation": "sdpa",
}

# What stands beside model.safetensors.
DESCRIPTION = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def initial_model(shape: dict[str, Any], context_length: int, vocab_size: int, end_of_text: int, seed: int) -> Any:
    """A Llama with random weights in fp32; equal arguments give equal weights."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=shape["width"],
        intermediate_size=shape["ffn"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        max_position_embeddings=context_length,
        tie_word_embeddings=shape["tie_embeddings"],
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def pretrained_model(folder: Path) -> Any:
    """A causal LM that was trained elsewhere, in fp32. No code beside the weights is run, and nothing is unpickled.

    Raises TrainingError where it cannot be read, weights are missing, or blocks are not built as Llama's are.
    """
    try:
        model, read = AutoModelForCausalLM.from_pretrained(folder, **_SAFE, output_loading_info=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise TrainingError(
            f"{folder}: not a causal LM that transformers can load from safetensors: {reason}"
        ) from None
    if read["missing_keys"] or read["mismatched_keys"]:
        lacking = sorted(read["missing_keys"]) + sorted(map(str, read["mismatched_keys"]))
        raise TrainingError(f"{folder}: the weights lack {lacking[0]} ({len(lacking)} in all) of what config.json says")
    config = model.config
    if not is_like_llama(model):
        raise TrainingError(
            f"{folder}: {config.model_type} is not built of blocks like Llama's, which training relies on"
        )
    # Not every kind of config says it, and the count of FLOPs asks for it.
    config.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    config.use_cache = False
    return model


def is_like_llama(model: Any) -> bool:
    """Whether a model is built of blocks as training and the count of FLOPs take them to be."""
    needed = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers")
    return hasattr(model.base_model, "layers") and all(
        isinstance(getattr(model.config, key, None), int) for key in needed
    )


def load_model(folder: Path, device: torch.device) -> PreTrainedModel:
    """The model of a checkpoint folder, in fp32. Only safetensors are read, so nothing is unpickled."""
    return AutoModelForCausalLM.from_pretrained(folder, **_SAFE).to(device)


def save_model(model: PreTrainedModel, folder: Path, tokenizer: Path) -> list[Path]:
    """Write what ``AutoModelForCausalLM`` and ``AutoTokenizer`` load; ``tokenizer``: a folder with a tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size="1TB")
    _export_tokenizer(tokenizer, folder, model.config)
    files = [folder / name for name in ("model.safetensors", *DESCRIPTION)]
    for path in files:
        sync(path)
    return files


def copy_description(parent: Path, folder: Path) -> list[Path]:
    """Copy what stands beside the weights of a checkpoint that ``save_model`` wrote: training changes none of it."""
    files = [Path(shutil.copyfile(parent / name, folder / name)) for name in DESCRIPTION]
    for path in files:
        sync(path)
    return files


def _export_tokenizer(tokenizer: Path, folder: Path, config: Any) -> None:
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer / "tokenizer.json"), model_max_length=config.max_position_embeddings
    )
    end_of_text = fast.convert_ids_to_tokens(config.eos_token_id)
    fast.add_special_tokens({"bos_token": end_of_text, "eos_token": end_of_text})
    fast.save_pretrained(folder)
