"""The language model: transformers' Llama, built from a shape or read from a checkpoint."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

# A bar for each file that is read would bury the progress of training.
transformers_logging.disable_progress_bar()

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


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


def load_model(folder: Path, device: torch.device) -> PreTrainedModel:
    """The model of a checkpoint folder, in fp32. Only safetensors are read, so nothing is unpickled."""
    return LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, attn_implementation="sdpa"
    ).to(device)


def save_model(model: PreTrainedModel, folder: Path, tokenizer: Path) -> list[Path]:
    """Write what ``AutoModelForCausalLM`` and ``AutoTokenizer`` load; ``tokenizer``: a folder with a tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size="1TB")
    if (tokenizer / "tokenizer_config.json").is_file():
        for name in TOKENIZER_FILES:
            shutil.copyfile(tokenizer / name, folder / name)
    else:
        _export_tokenizer(tokenizer, folder, model.config)
    names = ("config.json", "generation_config.json", "model.safetensors", *TOKENIZER_FILES)
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    return [folder / name for name in names]


def _export_tokenizer(tokenizer: Path, folder: Path, config: Any) -> None:
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer / "tokenizer.json"), model_max_length=config.max_position_embeddings
    )
    end_of_text = fast.convert_ids_to_tokens(config.eos_token_id)
    fast.add_special_tokens({"bos_token": end_of_text, "eos_token": end_of_text})
    fast.save_pretrained(folder)


def best_device() -> torch.device:
    """CUDA where there is a card, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
