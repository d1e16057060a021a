"""Greedy continuations of held-out documents, which show what forgetting looks like in text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import torch
from tokenizers import Tokenizer

from palimpsest.evaluate.results.checkpoint_results import Sample
from palimpsest.model.llama import Llama

_DOCUMENTS = 2
_PROMPT_CHARACTERS = 60
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def generate_samples(
    model: Llama,
    tokenizer: Tokenizer,
    documents: Iterable[np.ndarray],
    end_of_text: int,
    context_length: int,
    max_new_tokens: int,
) -> tuple[Sample, ...]:
    """Continue the beginnings of the first non-empty documents by at most ``max_new_tokens`` tokens each.

    Decoding is greedy and stops at end-of-text. A character of which the model generated only some bytes is shown as
    U+FFFD.
    """
    samples = []
    for document in itertools.islice((document for document in documents if len(document)), _DOCUMENTS):
        prompt = prompt_prefix(tokenizer, document.tolist(), min(context_length, len(document)) // 2)
        continuation = greedy_decode(model, [end_of_text, *prompt], max_new_tokens, end_of_text, context_length)
        before, whole = tokenizer.decode(prompt), tokenizer.decode(prompt + continuation)
        # Decoded separately, a continuation may lack the space before its first word.
        text = whole[len(before) :] if whole.startswith(before) else tokenizer.decode(continuation)
        samples.append(Sample(prompt=before, text=text))
    return tuple(samples)


def prompt_prefix(tokenizer: Tokenizer, document: list[int], max_tokens: int) -> list[int]:
    """The longest prefix of whole characters within 60 characters and ``max_tokens`` tokens; at least one token."""
    for length in range(min(len(document), max_tokens, _PROMPT_CHARACTERS * 4), 1, -1):
        text = tokenizer.decode(document[:length])
        if len(text) <= _PROMPT_CHARACTERS and not text.endswith(_REPLACEMENT):
            return document[:length]
    return document[:1]


@torch.no_grad()
def greedy_decode(
    model: Llama, prompt: list[int], max_new_tokens: int, end_of_text: int, context_length: int
) -> list[int]:
    """The greedy continuation of ``prompt``: ``max_new_tokens`` tokens, or fewer if end-of-text comes first.

    The model sees at most ``context_length`` tokens; when the window is full, decoding continues from its second half.
    """
    device = next(model.parameters()).device
    window, unseen, cache = list(prompt), list(prompt), None
    generated: list[int] = []
    while len(generated) < max_new_tokens:
        if len(window) > context_length:
            window = window[-max(1, context_length // 2) :]
            unseen, cache = window, None
        output = model(input_ids=torch.tensor([unseen], device=device), past_key_values=cache, use_cache=True)
        token = int(output.logits[0, -1].argmax())
        if token == end_of_text:
            break
        generated.append(token)
        window, unseen, cache = [*window, token], [token], output.past_key_values
    return generated
