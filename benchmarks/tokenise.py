"""The tokens stage against its engine: shards read, encoded and written, over ``encode_batch_fast`` on text in memory.

Same text, tokenizer and cores, alternating. The folder of text (``--text``, else ``PALIMPSEST_TEXT``) has .jsonl.zst
files, in itself or in train/; the documents become a corpus without cleaning.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import zstandard
from tokenizers import Tokenizer

from benchmarks import conclude
from palimpsest.artifact import write_manifest
from palimpsest.settings.model import Tokenizer as TokenizerSettings
from palimpsest.specs.data import MixtureShare, TokenizerSpec, TokensSpec
from palimpsest.tokens.build_tokenizer import build_tokenizer
from palimpsest.tokens.build_tokens import build_tokens
from palimpsest.tokens.corpus_reader import read_texts

_LANGUAGE, _SOURCE = "text", "given"
_SHARDS_PER_CORE = 4  # so that the other cores wait little for the last shard


def main() -> None:
    """Print both speeds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, default=os.environ.get("PALIMPSEST_TEXT"))
    parser.add_argument("--megabytes", type=float, default=math.inf, help="of text, the same share of each file")
    parser.add_argument("--vocabulary", type=int, default=16_384)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    files = [] if options.text is None else sorted([*options.text.glob("*.zst"), *options.text.glob("train/*.zst")])
    if not files:
        sys.exit(f"no .jsonl.zst files in {options.text}: name a folder of text by --text or PALIMPSEST_TEXT")
    os.environ["RAYON_NUM_THREADS"] = str(options.cores)  # read once, at the first use of tokenizers' threads
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    documents = [text for file in files for text in _share(file, 1e6 * options.megabytes / len(files))]
    megabytes = _bytes(documents) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        stage, raw = _works(Path(folder), documents, options.vocabulary, options.cores)
        pairs = [(megabytes / _seconds(stage), megabytes / _seconds(raw)) for _ in range(options.repeats)]
    ratios = [ours / peer for ours, peer in pairs]
    ours, peer = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    print(f"{len(documents):,} documents, {megabytes:.1f} MB, {options.cores} cores, medians of {options.repeats}")
    print(f"stage {ours:.2f} MB/s, encode_batch_fast {peer:.2f} MB/s, ratios {min(ratios):.2f} to {max(ratios):.2f}")
    conclude(
        "tokenise",
        "tokenizers' encode_batch_fast on the same text in memory, with the same tokenizer and cores",
        options.repeats,
        {"end_to_end_over_encode_batch_fast": statistics.median(ratios)},
    )


def _share(file: Path, budget: float) -> Iterator[str]:
    """The first documents of a file, of about ``budget`` bytes; the last may exceed it."""
    size = 0
    for text in read_texts(file):
        if size >= budget:
            return
        size += len(text.encode())
        yield text


def _works(
    folder: Path, documents: list[str], vocabulary: int, cores: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    """The stage, and its peer; each encodes all documents once."""
    corpus, trained = folder / "corpus", folder / "tokenizer"
    _write(corpus, documents, cores * _SHARDS_PER_CORE)
    settings = TokenizerSettings(vocab_size=vocabulary, sample_mb=8)
    tokenizer_spec = TokenizerSpec(languages=(_LANGUAGE,), tokenizer=settings, content=None)
    build_tokenizer(tokenizer_spec, {_LANGUAGE: corpus}, trained)
    engine = Tokenizer.from_file(str(trained / "tokenizer.json"))
    engine.encode_special_tokens = True
    spec = TokensSpec(language=_LANGUAGE, sources={_SOURCE: MixtureShare(weight=None, max_tokens=None)})
    return (
        lambda: build_tokens(spec, corpus, trained, folder / "tokens", cores),
        lambda: engine.encode_batch_fast(documents, add_special_tokens=False),
    )


def _write(corpus: Path, documents: list[str], shards: int) -> None:
    """A finished corpus folder; every training shard has documents of each file, every twentieth is held out."""
    train = [text for number, text in enumerate(documents) if number % 20]
    parts = {f"validation/{_SOURCE}-00000": documents[::20]}
    parts |= {f"train/{_SOURCE}-{i:05}": train[i::shards] for i in range(shards)}
    for name, part in parts.items():
        lines = b"".join(orjson.dumps({"id": f"{name}/{i}", "text": text}) + b"\n" for i, text in enumerate(part))
        path = corpus / f"{name}.jsonl.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zstandard.compress(lines))
    write_manifest(
        corpus,
        stage="corpus",
        params={},
        inputs={},
        files=[corpus / f"{name}.jsonl.zst" for name in parts],
        counts={
            split: {"documents": len(part), "bytes": _bytes(part)}
            for split, part in (("train", train), ("validation", documents[::20]))
        },
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _bytes(documents: list[str]) -> int:
    return sum(len(text.encode()) for text in documents)


if __name__ == "__main__":
    main()
