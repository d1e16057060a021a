"""The shape of a Llama model, as config.json of a Hugging Face checkpoint describes it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from palimpsest.artifact import read_json
from palimpsest.specs.training import RandomModel

# What config.json may say besides the shape for ``llama.Llama`` to compute the same model; a missing key is fine.
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",), "attention_bias": (False,), "mlp_bias": (False,), "attention_dropout": (0,),
    "pretraining_tp": (1, None), "quantization_config": (None,),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """The fields of transformers' LlamaConfig that matter here, by the same names."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool
    model_type: str = "llama"

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the input embedding, and of the output layer unless it shares them."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def parameters(self) -> int:
        """All parameters: four projections, three MLP matrices and two norms a block, the last norm, embeddings."""
        width = self.hidden_size
        queries, keys = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        block = 2 * width * (queries + keys) + 3 * width * self.intermediate_size + 2 * width
        return self.num_hidden_layers * block + width + self.embedding_parameters


def llama_config(
    shape: RandomModel, *, context_length: int, vocab_size: int, rms_norm_eps: float = 1e-6, rope_theta: float = 1e4
) -> LlamaConfig:
    """The config of a model that is built here."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.width // shape.heads,
        max_position_embeddings=context_length,
        rms_norm_eps=rms_norm_eps,
        rope_theta=rope_theta,
        tie_word_embeddings=shape.tie_embeddings,
    )


def read_llama_config(path: Path) -> LlamaConfig | None:
    """Read config.json; None where it describes a model that ``llama.Llama`` does not compute."""
    config = read_json(path)
    rope = config.get("rope_parameters") or {}
    shape = {field.name for field in fields(LlamaConfig)} - {"rope_theta"}
    if config.get("model_type") != "llama" or rope.get("rope_type") != "default" or not shape <= config.keys():
        return None
    if any(key in config and config[key] not in values for key, values in _SUPPORTED.items()):
        return None
    return LlamaConfig(rope_theta=rope["rope_theta"], **{name: config[name] for name in shape})
