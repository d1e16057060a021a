"""The seam behind which an encoding engine stands. Here: Hugging Face ``tokenizers``, which defines what is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from palimpsest.errors import ArtifactError


class Encoder:
    """Text to token ids and back, by a tokenizer.json.

    Nothing is added (no begin- or end-of-text), nothing is cut, and text that looks like a special token is encoded as
    the plain text that it is.
    """

    def __init__(self, tokenizer_json: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_json))
        except Exception as error:  # tokenizers raises bare Exception
            raise ArtifactError(
                f"{tokenizer_json}: not a tokenizer.json ({error}); run the tokenizer stage again"
            ) from None
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, int32."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def decode(self, ids: np.ndarray) -> str:
        """The text that ``ids`` stand for, special tokens included."""
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=False))
