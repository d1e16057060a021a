"""The tokenizer and the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from palimpsest.settings.base import Bound, CommitHash, HubName, Positive, Settings, setting

# layers, width, heads, ffn. 99M, 560M and 1B are the paper's; nano, tiny and small are for a CPU. The paper's 6B is
# published without its shape: this one keeps the ratio 2.5 of the others' MLPs and has 6.2 billion parameters beside
# the embeddings.
PRESETS = {
    "nano": (2, 96, 4, 256),
    "tiny": (4, 128, 4, 352),
    "small": (8, 256, 8, 704),
    "99M": (16, 512, 8, 1280),
    "560M": (24, 1024, 16, 2560),
    "1B": (24, 1792, 28, 5120),
    "6B": (32, 4096, 32, 10240),
}


@dataclass(frozen=True, kw_only=True)
class Tokenizer(Settings):
    """One byte-level BPE for all languages: trained here, or read from a file or the hub."""

    vocab_size: Annotated[int, Bound(ge=260)] = setting(2048, "entries, 256 bytes and end-of-text included")
    sample_mb: Positive = setting(2, "MB (10^6 bytes) of training text of each language to train it on")
    path: str | None = setting(
        None, "a byte-level tokenizer.json to use as it is, instead of training one", in_fingerprint=False
    )
    hub: HubName | None = setting(None, "owner/name of a model on the Hugging Face hub, for its tokenizer.json")
    revision: CommitHash | None = setting(None, "commit hash (40 hex digits) of hub")

    def __post_init__(self) -> None:
        _check_origin(self)


@dataclass(frozen=True, kw_only=True)
class Model(Settings):
    """A Llama model with random weights, or any causal LM on disk. A preset names the shape; other keys override it."""

    preset: Literal["nano", "tiny", "small", "99M", "560M", "1B", "6B"] = setting("tiny", "a named shape")
    layers: Positive | None = setting(None, "transformer blocks")
    width: Positive | None = setting(None, "hidden size")
    heads: Positive | None = setting(None, "attention heads; twice their number must divide the width")
    ffn: Positive | None = setting(None, "intermediate size of the gated MLP")
    tie_embeddings: bool = setting(False, "share the input and output embedding")
    path: str | None = setting(
        None,
        "a folder with a Hugging Face causal LM (safetensors) to start from, in its own shape; the shards "
        "must be made by its tokenizer, so set tokenizer.path to its tokenizer.json",
        in_fingerprint=False,
    )
    hub: HubName | None = setting(
        None,
        "owner/name of a causal LM on the Hugging Face hub, instead of path; set tokenizer.hub likewise",
    )
    revision: CommitHash | None = setting(None, "commit hash (40 hex digits) of hub")

    @property
    def sizes(self) -> dict[str, int]:
        """Layers, width, heads and ffn: the preset's, unless a key says otherwise."""
        preset = dict(zip(("layers", "width", "heads", "ffn"), PRESETS[self.preset], strict=True))
        return preset | {key: value for key in preset if (value := getattr(self, key)) is not None}

    def __post_init__(self) -> None:
        _check_origin(self)
        width, heads = self.sizes["width"], self.sizes["heads"]
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of twice the heads {heads}")


def _check_origin(section: Tokenizer | Model) -> None:
    """A pretrained tokenizer or model is a path or a commit on the hub."""
    if section.path and section.hub:
        raise ValueError("path and hub are both set; set one of them to null")
    if bool(section.hub) != bool(section.revision):
        raise ValueError("hub and revision go together: the commit hash pins what hub means")
