"""Continuations against transformers' own generation, and against a model without a cache."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from palimpsest.artifact import read_manifest, write_manifest
from palimpsest.codec import encode
from palimpsest.evaluate.evaluate_checkpoint import evaluate_checkpoint
from palimpsest.evaluate.generate_samples import generate_samples, greedy_decode, prompt_prefix
from palimpsest.model.hf_checkpoint import load_model, load_transformers_model
from palimpsest.specs.evaluation import EvaluationSpec
from palimpsest.tokens.megatron import ShardWriter

CONTEXT = 96
TEXTS = [
    "The old mill stood by the river, and nobody had lived there for as long as anyone could remember.",
    "夕方になると、彼は川のそばの古い水車小屋へ歩いて行き、灯りがともるのを待っていた。誰もそこには住んでいなかった。",
    "Yes.",
]


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    torch.set_num_threads(1)  # many threads make small tensors slow
    return load_model(checkpoint, torch.device("cpu"))


@pytest.fixture(scope="module")
def tokenizer(byte_level: Path) -> Tokenizer:
    return Tokenizer.from_file(str(byte_level / "tokenizer.json"))


def test_within_the_context_decoding_equals_transformers(model: Any, checkpoint: Path, tokenizer: Tokenizer) -> None:
    prompt = [0, *tokenizer.encode(TEXTS[0]).ids[:20]]
    ids = torch.tensor([prompt])
    theirs = load_transformers_model(checkpoint, torch.device("cpu")).generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=50, do_sample=False, use_cache=True, pad_token_id=0
    )
    assert greedy_decode(model, prompt, 50, 0, CONTEXT) == theirs[0, len(prompt) :].tolist()


@torch.no_grad()
def test_past_the_context_decoding_continues_from_the_second_half_of_the_window(model: Any) -> None:
    window, expected = [0, 300, 301], []
    for _ in range(40):
        if len(window) > 16:
            window = window[-8:]
        token = int(model(input_ids=torch.tensor([window])).logits[0, -1].argmax())
        expected.append(token)
        window.append(token)
    assert greedy_decode(model, [0, 300, 301], 40, 0, 16) == expected and len(set(expected)) > 3


class Scripted(torch.nn.Module):
    """Generates 5, 6, 7, …: the successor of the last token of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        logits = torch.zeros(*input_ids.shape, 10)
        logits[0, -1, (int(input_ids[0, -1]) + 1) % 10] = 1.0
        return type("Output", (), {"logits": logits, "past_key_values": "cache"})


def test_decoding_ends_with_the_text() -> None:
    assert greedy_decode(Scripted(), [0, 4], 20, 9, 64) == [5, 6, 7, 8]  # type: ignore[arg-type]
    assert greedy_decode(Scripted(), [0, 4], 3, 9, 64) == [5, 6, 7]  # type: ignore[arg-type]


def test_a_prompt_has_whole_characters_and_at_most_sixty(tokenizer: Tokenizer) -> None:
    for text in TEXTS[:2]:
        ids = tokenizer.encode(text).ids
        for most in range(1, len(ids)):
            start = tokenizer.decode(prompt_prefix(tokenizer, ids, most))
            assert len(start) <= 60
            # One token alone may be less than a character; there is no shorter beginning.
            assert text.startswith(start) or (start == "\N{REPLACEMENT CHARACTER}" and most < 4)
        assert len(tokenizer.decode(prompt_prefix(tokenizer, ids, len(ids)))) > 40


def test_samples_continue_the_first_two_non_empty_documents(model: Any, tokenizer: Tokenizer) -> None:
    documents = [np.array([], dtype=np.int64), *(np.array(tokenizer.encode(text).ids) for text in TEXTS)]
    samples = generate_samples(model, tokenizer, iter(documents), 0, CONTEXT, 12)
    assert len(samples) == 2
    for sample, text in zip(samples, TEXTS, strict=False):
        assert text.startswith(sample.prompt) and len(sample.prompt) > 10
        assert sample.text
        json.dumps(encode(sample), ensure_ascii=False).encode()
    (short,) = generate_samples(model, tokenizer, iter(documents[3:]), 0, CONTEXT, 12)
    assert TEXTS[2].startswith(short.prompt)


def test_an_incomplete_character_is_shown_as_a_replacement_character(tokenizer: Tokenizer) -> None:
    class Half(Scripted):
        """Generates the first byte of a character over and over."""

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            logits = torch.zeros(*input_ids.shape, 600)
            logits[0, -1, byte] = 1.0
            return type("Output", (), {"logits": logits, "past_key_values": None})

    byte = tokenizer.token_to_id("\N{LATIN SMALL LETTER A WITH TILDE}")  # byte 0xE3, with which kana begin
    documents = [np.array(tokenizer.encode(TEXTS[0]).ids)]
    (sample,) = generate_samples(Half(), tokenizer, documents, 0, CONTEXT, 3)  # type: ignore[arg-type]
    assert set(sample.text) == {"\N{REPLACEMENT CHARACTER}"}


@pytest.fixture(scope="module")
def tokens(byte_level: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    words = Tokenizer.from_file(str(byte_level / "tokenizer.json"))
    folder = tmp_path_factory.mktemp("tokens") / "en"
    with ShardWriter(folder / "validation-00000", "uint16") as shard:
        for text in TEXTS:
            shard.add(np.array([*words.encode(text).ids, 0]))
    params = {"dtype": "uint16", "end_of_text": 0, "vocab_size": words.get_vocab_size()}
    write_manifest(
        folder, stage="tokens", params=params, inputs={}, files=sorted(folder.iterdir()), counts={"validation": {}}
    )
    return {"en": folder}


def test_an_evaluation_has_losses_and_samples(
    checkpoint: Path, byte_level: Path, tokens: dict[str, Path], tmp_path: Path
) -> None:
    spec = EvaluationSpec(
        languages=("en",), max_tokens=200, max_document_tokens=200, batch_size=2, sample_tokens=6,
        context_length=CONTEXT, threads=1,
    )  # fmt: skip
    for folder in ("one", "two"):
        evaluate_checkpoint(spec, checkpoint, byte_level, tokens, tmp_path / folder)
    for name in ("losses.json", "samples.json", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    samples = json.loads((tmp_path / "one" / "samples.json").read_text())
    assert [TEXTS[place].startswith(sample["prompt"]) for place, sample in enumerate(samples["en"])] == [True, True]
    evaluate_checkpoint(replace(spec, sample_tokens=0), checkpoint, byte_level, tokens, tmp_path / "none")
    assert set(read_manifest(tmp_path / "none", "evaluation").files) == {"losses.json"}
