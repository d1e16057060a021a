"""Held-out loss of a model, document by document: nats, tokens and the bytes of text that those tokens stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from palimpsest.model.llama import CausalLMOutput, Llama

_IGNORED = -100
# Logits held at once (fp32: 1 GiB, and as much again for their logarithms).
_MAX_LOGITS = 2**28


@dataclass(frozen=True, kw_only=True)
class DocumentLosses:
    """Arrays with an entry for each document: summed nats (float64), tokens predicted, and their bytes (int64)."""

    nats: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray

    @property
    def nats_per_token(self) -> float:
        return float(self.nats.sum() / self.tokens.sum())

    @property
    def bits_per_byte(self) -> float:
        """Comparable across tokenizers, since bytes do not depend on how text is split."""
        return float(self.nats.sum() / np.log(2) / self.bytes.sum())


def take_documents(documents: Iterable[np.ndarray], max_tokens: int, max_document_tokens: int) -> list[np.ndarray]:
    """The first documents, each cut to ``max_document_tokens``, up to ``max_tokens`` in all."""
    taken: list[np.ndarray] = []
    left = max_tokens
    for document in documents:
        if left <= 0:
            break
        if cut := min(len(document), max_document_tokens, left):
            taken.append(np.asarray(document[:cut]))
            left -= cut
    return taken


@torch.no_grad()
def document_losses(
    model: Llama,
    documents: list[np.ndarray],
    *,
    end_of_text: int,
    token_bytes: np.ndarray,
    context_length: int,
    batch_size: int,
) -> DocumentLosses:
    """Each token of each document is predicted once, from the tokens before it in its window of ``context_length``.

    A document follows an end-of-text token, as in training; that token itself is not predicted. Windows do not overlap.
    At most ``batch_size`` of them are in one forward pass, fewer where their logits would fill the memory.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    nats = np.zeros(len(documents))
    windows = list(_windows(documents, end_of_text, context_length))
    # Windows of similar length share a pass, so that little is padded; the sum of each document does not depend on it.
    windows.sort(key=lambda window: -len(window[1]))
    longest = len(windows[0][1]) if windows else 1
    batch_size = max(1, min(batch_size, _MAX_LOGITS // (longest * model.config.vocab_size)))
    for start in range(0, len(windows), batch_size):
        chosen = windows[start : start + batch_size]
        owners = [owner for owner, _ in chosen]
        np.add.at(nats, owners, _window_nats(model, [window for _, window in chosen], device))
    model.train(was_training)
    return DocumentLosses(
        nats=nats,
        tokens=np.array([len(document) for document in documents], dtype=np.int64),
        bytes=np.array([token_bytes[document].sum(dtype=np.int64) for document in documents], dtype=np.int64),
    )


def _windows(documents: list[np.ndarray], end_of_text: int, context_length: int) -> Iterator[tuple[int, np.ndarray]]:
    for owner, document in enumerate(documents):
        row = np.concatenate([[end_of_text], document])
        for start in range(0, len(document), context_length):
            yield owner, row[start : start + context_length + 1]


def _window_nats(model: Llama, windows: list[np.ndarray], device: torch.device) -> np.ndarray:
    length = max(len(window) for window in windows) - 1
    inputs = np.zeros((len(windows), length), dtype=np.int64)
    targets = np.full((len(windows), length), _IGNORED, dtype=np.int64)
    for row, window in enumerate(windows):
        inputs[row, : len(window) - 1] = window[:-1]
        targets[row, : len(window) - 1] = window[1:]
    output: CausalLMOutput = model(input_ids=torch.from_numpy(inputs).to(device))
    logits = output.logits.float()
    losses = F.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(targets).to(device).flatten(), ignore_index=_IGNORED, reduction="none"
    )
    sums: np.ndarray = losses.view(len(windows), length).double().sum(dim=1).cpu().numpy()
    return sums
