"""The size of a model and its training FLOPs per token, computed without building it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.errors import PlanError
from palimpsest.hub import Repository
from palimpsest.model.flops import training_flops_per_token
from palimpsest.model.llama_config import llama_config
from palimpsest.params import Params
from palimpsest.settings.base import expand
from palimpsest.specs.training import FolderModel, HubModel, ModelSpec, RandomModel


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Shape and size of a model; ``embeddings`` counts the parameters of the input and output embeddings."""

    name: str
    layers: int
    width: int
    heads: int
    ffn: int
    vocab_size: int
    tied: bool
    parameters: int
    embeddings: int
    training_flops_per_token: int


def model_size(model: ModelSpec, name: str, vocab_size: int, context_length: int) -> ModelSize:
    """The size of an initial model; a pretrained one keeps its own vocabulary. Raises PlanError."""
    if isinstance(model, RandomModel):
        config: Any = llama_config(model, context_length=context_length, vocab_size=vocab_size)
        parameters, embeddings = config.parameters, config.embedding_parameters
    else:
        config, parameters, embeddings = _pretrained_size(_config_file(model))
    return ModelSize(
        name=name,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        ffn=config.intermediate_size,
        vocab_size=config.vocab_size,
        tied=config.tie_word_embeddings,
        parameters=parameters,
        embeddings=embeddings,
        training_flops_per_token=training_flops_per_token(config, context_length),
    )


def _config_file(model: FolderModel | HubModel) -> Path:
    """The config.json of a pretrained model: a kilobyte, downloaded from the hub."""
    if isinstance(model, HubModel):
        repository = Repository(
            section="model", name=model.hub, revision=model.revision, error=PlanError,
            instead="give a folder as model.path",
        )  # fmt: skip
        return repository.file("config.json", absent="give the folder of a causal LM as model.path")
    return Path(expand(model.path)) / "config.json"


def _pretrained_size(config_file: Path) -> tuple[Any, int, int]:
    """Config, parameters and embedding parameters, counted on a model on the meta device: architectures differ."""
    import torch  # takes seconds to import, and most models are not pretrained
    from transformers import AutoConfig, AutoModelForCausalLM

    from palimpsest.model.hf_checkpoint import is_like_llama

    # Whether the weights match the config is checked by the stage that loads them.
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        config = AutoConfig.from_pretrained(config_file.parent, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise PlanError(f"{config_file}: not the config of a causal LM: {str(error).strip().splitlines()[0]}") from None
    if not is_like_llama(model):
        raise PlanError(f"{config_file}: {config.model_type} is not built of blocks like Llama's, which training needs")
    config.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    matrices = {id(part.weight): part.weight for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    embeddings = sum(weight.numel() for weight in matrices.values())
    return config, sum(weight.numel() for weight in model.parameters()), embeddings


def find_vocabulary_size(params: Params, is_set: bool) -> tuple[int, str]:
    """Entries of the tokenizer, and the params key that sets them; an existing tokenizer is read.

    ``is_set``: whether the file sets tokenizer.vocab_size. Raises PlanError if it does not and the tokenizer is not on
    this machine yet.
    """
    tokenizer = params.tokenizer
    if tokenizer.path and Path(expand(tokenizer.path)).is_file():
        return _entries(Path(expand(tokenizer.path))), "tokenizer.path"
    if tokenizer.hub and (cached := _cached(tokenizer.hub, tokenizer.revision)):
        return _entries(cached), "tokenizer.hub"
    if (tokenizer.path or tokenizer.hub) and not is_set:
        raise PlanError(
            f"tokenizer.vocab_size: missing; {tokenizer.path or tokenizer.hub} is not on this machine yet, so set "
            "how many entries it has"
        )
    return tokenizer.vocab_size, "tokenizer.vocab_size"


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "tokenizer.json", revision=revision)
    return Path(found) if isinstance(found, str) else None


def _entries(tokenizer_json: Path) -> int:
    """The largest id plus one, which is the number of embeddings."""
    from tokenizers import Tokenizer

    return 1 + max(Tokenizer.from_file(str(tokenizer_json)).get_vocab(with_added_tokens=True).values())
