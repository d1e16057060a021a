"""Points of the validation curves: the held-out loss of every language, also of those that are yet to be trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from palimpsest.model.held_out_loss import document_losses, take_documents
from palimpsest.settings.training import Train
from palimpsest.tokens.sequences import Documents
from palimpsest.train.wrap.training_model import TrainingModel


class Validator:
    """Measures the loss on the first ``train.eval_tokens`` validation tokens of each language."""

    def __init__(
        self, languages: Sequence[str], tokens: Mapping[str, Path], tokenizer: Path, settings: Train, world_size: int
    ) -> None:
        self._documents = {language: Documents(tokens[language], "validation") for language in languages}
        self._max_tokens, self._context_length = settings.eval_tokens, settings.context_length
        self._token_bytes = np.load(tokenizer / "token_bytes.npy", allow_pickle=False)
        # No more windows at once than training has rows, so that no more memory is needed.
        self._batch_size = settings.micro_batch_size or -(-settings.batch_size // world_size)

    def losses(self, model: TrainingModel) -> dict[str, float]:
        """Language → nats per token. All processes call it, as weights may be sharded."""
        return {language: self._loss(model, documents) for language, documents in self._documents.items()}

    def _loss(self, model: TrainingModel, documents: Documents) -> float:
        with model.without_compiler(), model.precision():
            losses = document_losses(
                model.model,
                take_documents(documents, self._max_tokens, self._max_tokens),
                end_of_text=documents.end_of_text,
                token_bytes=self._token_bytes,
                context_length=self._context_length,
                batch_size=self._batch_size,
            )
        return losses.nats_per_token
