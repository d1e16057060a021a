"""Checks that a tokenizer.json is byte-level: it encodes every text, and the bytes of every token are known.

The byte-level alphabet has one character for each of the 256 bytes, so the length of a token in characters is the
number of bytes that it represents (Radford et al. 2019). Bits per byte are computed from that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers.pre_tokenizers import ByteLevel

from palimpsest.errors import DataError
from palimpsest.tokens.encoders import ReferenceEncoder

END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>")
_ALPHABET = frozenset(ByteLevel.alphabet())
_PROBES = (
    " A space before, two  inside and one after ",
    "line\nline\r\n\n\ttab 1234567 don't STOP'S …",
    "Été, Straße; مَرحبا بالعالم، 世界こんにちは。🙂👩‍👩‍👧 हिन्दी \x00\x07\u200b\ufffd",
)


def end_of_text(path: Path) -> int:
    """The id of the first of END_OF_TEXT that is a special token of a tokenizer.json. Raises DataError if none is."""
    special = {token["content"]: int(token["id"]) for token in _read(path)["added_tokens"] if token["special"]}
    for name in END_OF_TEXT:
        if name in special:
            return special[name]
    raise DataError(
        f"{path}: none of its special tokens ({', '.join(special) or 'it has none'}) ends a text; "
        f"expected one of {', '.join(END_OF_TEXT)}"
    )


def token_bytes(path: Path) -> np.ndarray:
    """Bytes of text per id, int32 [largest id + 1]; 0 for special tokens and unused ids.

    Raises DataError if the tokenizer is not a byte-level BPE that preserves every byte of a text.
    """
    tokenizer = _read(path)
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    _check_model(tokenizer["model"], path)
    added = {int(token["id"]): token for token in tokenizer["added_tokens"]}
    sizes = np.zeros(max([*vocabulary.values(), *added]) + 1, dtype=np.int32)
    for token, index in vocabulary.items():
        if index not in added and not _ALPHABET.issuperset(token):
            raise DataError(f"{path}: token {index}, {token!r}, does not consist of bytes; {_EXPECTED}")
        sizes[index] = len(token)
    for index, entry in added.items():
        sizes[index] = 0 if entry["special"] else len(entry["content"].encode())
    _check_probes(path, sizes, [token["content"] for token in added.values() if not token["special"]])
    return sizes


def _read(path: Path) -> dict[str, Any]:
    try:
        tokenizer = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; tokenizer.path must name a tokenizer.json") from None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); tokenizer.path must name a tokenizer.json") from None
    if not isinstance(tokenizer, dict) or not {"model", "added_tokens"} <= tokenizer.keys():
        raise DataError(f"{path}: has no model and added_tokens; tokenizer.path must name a tokenizer.json")
    return tokenizer


def _check_model(model: dict[str, Any], path: Path) -> None:
    kind = model.get("type", "BPE")
    if kind != "BPE" or not isinstance(model["vocab"], dict):
        raise DataError(f"{path}: a {kind} model; {_EXPECTED}")
    if model.get("dropout"):
        raise DataError(f"{path}: drops merges at random (dropout {model['dropout']}); set model.dropout to null")
    if missing := _ALPHABET - model["vocab"].keys():
        raise DataError(f"{path}: {len(missing)} of the 256 bytes have no token; {_EXPECTED}")


def _check_probes(path: Path, sizes: np.ndarray, added: list[str]) -> None:
    """Encode and decode probe texts: only that shows how the parts of a tokenizer.json work together.

    Raises DataError if a byte is added, lost or changed.
    """
    encoder = ReferenceEncoder(path)
    probes = [*_PROBES, *(f"a {name} b" for name in (*END_OF_TEXT, *added))]
    for text, ids in zip(probes, encoder.encode_batch(probes), strict=True):
        if encoder.decode(ids) != text:
            raise DataError(f"{path}: {text!r} is decoded as {encoder.decode(ids)!r}; {_EXPECTED}")
        if (found := int(sizes[ids].sum())) != len(text.encode()):
            raise DataError(f"{path}: {len(text.encode())} bytes become {found}, in {text!r}; {_EXPECTED}")


_EXPECTED = "expected a byte-level BPE (GPT-2, Llama 3, Qwen …) without a prefix space or changes to the text"
