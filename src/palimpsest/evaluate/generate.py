"""What a checkpoint writes when it is given the beginning of a held-out document: to see what forgetting looks like."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

_DOCUMENTS = 2
_CHARACTERS = 60
_BROKEN = "\N{REPLACEMENT CHARACTER}"


def write_samples(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    documents: Iterable[np.ndarray],
    end_of_text: int,
    context_length: int,
    tokens: int,
) -> list[dict[str, str]]:
    """``prompt`` and ``text``, its continuation by at most ``tokens`` tokens, for the first documents that hold any.

    The likeliest token is taken each time, until the text ends. A character of which the model wrote only some bytes is
    shown as U+FFFD.
    """
    found = []
    for document in itertools.islice((document for document in documents if len(document)), _DOCUMENTS):
        prompt = beginning(tokenizer, document.tolist(), min(context_length, len(document)) // 2)
        written = greedy(model, [end_of_text, *prompt], tokens, end_of_text, context_length)
        before, whole = tokenizer.decode(prompt), tokenizer.decode(prompt + written)
        # Decoded apart, a continuation may lack the space before its first word.
        text = whole[len(before) :] if whole.startswith(before) else tokenizer.decode(written)
        found.append({"prompt": before, "text": text})
    return found


def beginning(tokenizer: Tokenizer, document: list[int], most: int) -> list[int]:
    """The longest one of whole tokens and characters within 60 characters and ``most`` tokens; at least one token."""
    for length in range(min(len(document), most, _CHARACTERS * 4), 1, -1):
        text = tokenizer.decode(document[:length])
        if len(text) <= _CHARACTERS and not text.endswith(_BROKEN):
            return document[:length]
    return document[:1]


@torch.no_grad()
def greedy(model: PreTrainedModel, prompt: list[int], count: int, end_of_text: int, context_length: int) -> list[int]:
    """The ``count`` tokens after ``prompt``, fewer where the text ends, each the likeliest after those before it.

    No token is seen farther than ``context_length`` from the first one of its window: when it is full, writing goes on
    from its second half.
    """
    device = next(model.parameters()).device
    window, unseen, cache = list(prompt), list(prompt), None
    written: list[int] = []
    while len(written) < count:
        if len(window) > context_length:
            window = window[-max(1, context_length // 2) :]
            unseen, cache = window, None
        output = model(input_ids=torch.tensor([unseen], device=device), past_key_values=cache, use_cache=True)
        token = int(output.logits[0, -1].argmax())
        if token == end_of_text:
            break
        written.append(token)
        window, unseen, cache = [*window, token], [token], output.past_key_values
    return written
