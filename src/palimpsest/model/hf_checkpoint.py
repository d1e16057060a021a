"""Models as folders in Hugging Face's format. Only safetensors are read: nothing is unpickled, no code beside is run.

transformers is imported only where it is needed: to write the first checkpoint, and for architectures other than Llama.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import MethodType
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from palimpsest.artifact import sync
from palimpsest.errors import TrainingError
from palimpsest.model.chunked_cross_entropy import chunked_cross_entropy
from palimpsest.model.llama import Llama
from palimpsest.model.llama_config import LlamaConfig, read_llama_config

# The files beside model.safetensors.
DESCRIPTION = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
# Architectures whose logits are the last hidden states times lm_head, and nothing else.
_PLAIN_HEAD = {"llama", "mistral", "qwen2", "qwen3"}


def load_model(folder: Path, device: torch.device) -> Llama:
    """The model of a checkpoint folder, in fp32; other architectures come with the interface of ``llama.Llama``."""
    config = read_llama_config(folder / "config.json")
    if config is None:
        return _with_loss(load_transformers_model(folder, device))
    with torch.device("meta"):
        model = Llama(config)
    with safe_open(folder / "model.safetensors", "pt") as file:
        # A copy of each, since those of the file are views of it on the disk.
        weights = {name: file.get_tensor(name).to(device, torch.float32, copy=True) for name in file.keys()}  # noqa: SIM118
    expected = dict(model.named_parameters())
    if expected.keys() != weights.keys() or any(weights[name].shape != expected[name].shape for name in expected):
        raise TrainingError(f"{folder}: model.safetensors does not hold the weights that config.json describes")
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    return model.to(device).eval()


def load_transformers_model(folder: Path, device: torch.device) -> Any:
    """The model of a checkpoint folder as transformers' own class, in fp32."""
    return _transformers().AutoModelForCausalLM.from_pretrained(folder, **_loading()).to(device)


def random_llama(config: LlamaConfig, end_of_text: int, seed: int) -> Any:
    """A Llama of transformers with random weights in fp32; equal arguments give equal weights."""
    transformers = _transformers()
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            tie_word_embeddings=config.tie_word_embeddings,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )


def load_pretrained_model(folder: Path) -> Any:
    """A causal LM that was trained elsewhere, as transformers' class, in fp32.

    Raises TrainingError where it cannot be read, weights are missing, or blocks are not built as Llama's are.
    """
    try:
        model, report = _transformers().AutoModelForCausalLM.from_pretrained(
            folder, **_loading(), output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise TrainingError(
            f"{folder}: not a causal LM that transformers can load from safetensors: {reason}"
        ) from None
    if report["missing_keys"] or report["mismatched_keys"]:
        missing = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
        raise TrainingError(
            f"{folder}: the weights lack {missing[0]} ({len(missing)} in all) of what config.json describes"
        )
    config = model.config
    if not is_like_llama(model):
        raise TrainingError(
            f"{folder}: {config.model_type} is not built of blocks like Llama's, which training relies on"
        )
    # Not every kind of config has it, and the count of FLOPs needs it.
    config.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    config.use_cache = False
    return model


def set_stop_token(model: Any, end_of_text: int) -> None:
    """Let a model of transformers end its text at ``end_of_text`` alone."""
    model.config.bos_token_id = model.config.eos_token_id = end_of_text
    model.generation_config = _transformers().GenerationConfig.from_model_config(model.config)


def is_like_llama(model: Any) -> bool:
    """Whether a model is built of blocks as training and the count of FLOPs expect them."""
    needed = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers")
    return hasattr(model.base_model, "layers") and all(
        isinstance(getattr(model.config, key, None), int) for key in needed
    )


def save_model(model: Any, folder: Path, tokenizer: Path) -> list[Path]:
    """Write a model of transformers as ``AutoModelForCausalLM`` and ``AutoTokenizer`` load it.

    ``tokenizer`` is a folder with a tokenizer.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size="1TB")
    _save_tokenizer(tokenizer, folder, model.config)
    files = [folder / name for name in ("model.safetensors", *DESCRIPTION)]
    for path in files:
        sync(path)
    return files


def copy_description(parent: Path, folder: Path) -> list[Path]:
    """Copy the files beside the weights of a checkpoint that ``save_model`` wrote; training changes none of them."""
    files = [Path(shutil.copyfile(parent / name, folder / name)) for name in DESCRIPTION]
    for path in files:
        sync(path)
    return files


def _save_tokenizer(tokenizer: Path, folder: Path, config: Any) -> None:
    fast = _transformers().PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer / "tokenizer.json"), model_max_length=config.max_position_embeddings
    )
    end_of_text = fast.convert_ids_to_tokens(config.eos_token_id)
    fast.add_special_tokens({"bos_token": end_of_text, "eos_token": end_of_text})
    fast.save_pretrained(folder)


def _with_loss(model: Any) -> Llama:
    """Let a model of transformers take ``targets`` and ``weights`` too, as ``llama.Llama`` does."""
    forward_to_logits = model.forward

    def forward(self: Any, *args: Any, targets: Tensor | None = None, weights: Any = None, **options: Any) -> Any:
        if targets is None:
            return forward_to_logits(*args, **options)
        if self.config.model_type in _PLAIN_HEAD:
            hidden = self.model(*args, **options).last_hidden_state
            return chunked_cross_entropy(hidden, self.lm_head.weight, targets, weights)
        logits = forward_to_logits(*args, **options).logits.flatten(0, 1).float()
        losses = F.cross_entropy(logits, targets.flatten(), reduction="none").view_as(targets)
        return (losses.sum(dim=1) * weights).sum(), losses.detach()

    # In place of a module around it, so that the weights keep their names.
    model.forward = MethodType(forward, model)
    return cast(Llama, model)


def _transformers() -> Any:
    import transformers  # 3 s of CPU

    # A bar for each file that is read would bury the progress of training.
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _loading() -> dict[str, Any]:
    return {
        "dtype": torch.float32, "use_safetensors": True, "local_files_only": True, "trust_remote_code": False,
        "attn_implementation": "sdpa",
    }  # fmt: skip
