"""The mixture of a language's sources: exact sums against brute force, and the documents that a build retains."""

from __future__ import annotations

import itertools
import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpus_folder import write_corpus
from support.data_specs import mixture, tokens_spec
from support.shard_reader import read_shard
from tokenizers import Tokenizer

from palimpsest.artifact import read_manifest
from palimpsest.errors import DataError
from palimpsest.tokens import mixture as mixture_module
from palimpsest.tokens.build_tokens import build_tokens
from palimpsest.tokens.downsampling import Downsampler, copy_documents, tokens_to_retain
from palimpsest.tokens.megatron import Shard, ShardWriter
from palimpsest.tokens.sequences import Documents


def test_tokens_to_retain() -> None:
    tokens = {"a": 1000, "b": 300}
    assert tokens_to_retain("en", tokens, mixture(a=(None, None), b=(None, None))) == tokens
    assert tokens_to_retain("en", tokens, mixture(a=(None, 400), b=(None, 400))) == {"a": 400, "b": 300}
    assert tokens_to_retain("en", tokens, mixture(a=(0.7, None), b=(0.3, None))) == {"a": 700, "b": 300}
    assert tokens_to_retain("en", tokens, mixture(a=(7, None), b=(3, None))) == {"a": 700, "b": 300}
    assert tokens_to_retain("en", tokens, mixture(a=(0.7, 350), b=(0.3, None))) == {"a": 350, "b": 150}
    assert tokens_to_retain("en", tokens, mixture(a=(1, None), b=(2, None))) == {"a": 150, "b": 300}
    assert tokens_to_retain("en", {"a": 10}, mixture(a=(0.1, None))) == {"a": 10}  # 10 / 0.1 · 0.1, not 9.999…


@given(
    st.lists(
        st.tuples(st.integers(1, 10**12), st.floats(1e-6, 1e6), st.none() | st.integers(1, 10**12)),
        min_size=1,
        max_size=5,
    )
)
@settings(deadline=None)
def test_the_largest_total_without_repeating(sources: list[tuple[int, float, int | None]]) -> None:
    tokens = {f"s{i}": count for i, (count, _, _) in enumerate(sources)}
    wanted = tokens_to_retain("en", tokens, mixture(**{f"s{i}": (w, most) for i, (_, w, most) in enumerate(sources)}))
    most = {f"s{i}": min(count, limit or count) for i, (count, _, limit) in enumerate(sources)}
    assert all(wanted[name] <= most[name] for name in most)
    assert any(wanted[name] == most[name] for name in most)  # more of that one would be a repetition
    for (a, (_, u, _)), (b, (_, v, _)) in itertools.combinations(enumerate(sources), 2):
        # in proportion, up to rounding to whole tokens
        assert abs(wanted[f"s{a}"] * Fraction(str(v)) - wanted[f"s{b}"] * Fraction(str(u))) <= max(
            Fraction(str(u)), Fraction(str(v))
        )


def test_a_weight_for_an_empty_source_is_an_error() -> None:
    with pytest.raises(DataError, match="en: source 'b' has a weight, but cleaning left no training tokens of it"):
        tokens_to_retain("en", {"a": 5, "b": 0}, mixture(a=(1, None), b=(1, None)))
    assert tokens_to_retain("en", {"a": 5, "b": 0}, mixture(a=(None, None), b=(None, None))) == {"a": 5, "b": 0}


LENGTHS = st.lists(st.integers(1, 60) | st.integers(1, 5000), min_size=1, max_size=60)


@given(lengths=LENGTHS, data=st.data())
@settings(deadline=None)
def test_downsampling_makes_the_nearest_choice(lengths: list[int], data: st.DataObject) -> None:
    """By trying both choices for each document, however the documents are divided into shards."""
    fraction = Fraction(data.draw(st.integers(0, sum(lengths))), sum(lengths))
    limit = data.draw(st.sampled_from([None, int(fraction * sum(lengths))]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lengths)), max_size=4)))
    thinning = Downsampler(fraction, limit)
    stay = np.concatenate([thinning.mask(part) for part in np.split(np.array(lengths), cuts)]).tolist()
    seen = retained = 0
    for length, stays in zip(lengths, stay, strict=True):
        seen += length
        better = abs(retained + length - fraction * seen) <= abs(retained - fraction * seen)
        assert stays == (better and (limit is None or retained + length <= limit))
        retained += length * stays
        if limit is None:
            assert abs(retained - fraction * seen) <= Fraction(max(lengths), 2)
    if limit is not None:
        assert limit - max(lengths) <= retained <= limit
    assert fraction != 1 or all(stay)


@given(lengths=LENGTHS, seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_copied_documents(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int) -> None:
    folder = tmp_path_factory.mktemp("copy")
    rng = np.random.default_rng(seed)
    documents = [rng.integers(0, 65_536, length) for length in lengths]
    with ShardWriter(folder / "whole", "uint16") as writer:
        for document in documents:
            writer.add(document)
    stay = rng.random(len(lengths)) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("palimpsest.tokens.downsampling._CHUNK_TOKENS", 100)
        copy_documents(Shard(folder / "whole"), stay, folder / "thin")
    assert read_shard(folder / "thin") == [d.tolist() for d, stays in zip(documents, stay, strict=True) if stays]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources of two shards; the text of document k has its number."""

    def documents(name: str, number: int) -> list[str]:
        return [f"{name} {i} " + "and so on, " * (i * 7 % 40) for i in range(number)]

    web, books = documents("web", 400), documents("books", 60)
    return write_corpus(
        tmp_path_factory.mktemp("corpus") / "en",
        train={"web": [web[:250], web[250:]], "books": [books[:50], books[50:]]},
        validation={"web": [documents("held web", 40)], "books": [documents("held books", 12)]},
    )


def sizes(folder: Path, prefix: str) -> list[int]:
    names = sorted(path.stem for path in folder.glob(f"{prefix}-*.idx"))
    return [len(document) for name in names for document in read_shard(folder / name)]


def test_weights_set_the_shares_of_sources(
    tmp_path: Path,
    corpus: Path,
    trained: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    build_tokens(tokens_spec("en", web=(None, None), books=(None, None)), corpus, trained, tmp_path / "whole")
    spec = tokens_spec("en", web=(0.6, None), books=(0.4, None))
    with caplog.at_level(logging.INFO):
        build_tokens(spec, corpus, trained, tmp_path / "out", workers=2)
    out, whole = tmp_path / "out", tmp_path / "whole"
    counts = read_manifest(out, "tokens").counts
    available = {name: sum(sizes(whole, f"train-{name}")) for name in ("web", "books")}
    wanted = {"books": available["books"], "web": available["books"] * 3 // 2}
    assert wanted["web"] < available["web"]
    for name, weight in (("web", 0.6), ("books", 0.4)):
        tokens = sum(sizes(out, f"train-{name}"))
        assert wanted[name] - max(sizes(whole, "train")) < tokens <= wanted[name]
        assert counts["sources"][name] == {
            "tokens": tokens,
            "available": available[name],
            "share": pytest.approx(tokens / counts["train"]["tokens"], abs=1e-6),
            "weight": weight,
        }
    for split in ("train", "validation"):
        found = [
            document for path in sorted(out.glob(f"{split}-*.idx")) for document in read_shard(path.with_suffix(""))
        ]
        texts = [Tokenizer.from_file(str(trained / "tokenizer.json")).decode(document[:-1]) for document in found]
        assert counts[split] == {
            "documents": len(found),
            "tokens": sum(map(len, found)),
            "bytes": sum(len(text.encode()) for text in texts),
        }
    fraction = wanted["web"] / available["web"]
    held = sum(sizes(out, "validation-web")) / sum(sizes(whole, "validation-web"))
    assert held == pytest.approx(fraction, abs=0.1)
    for path in whole.glob("*books*"):  # loses nothing, in training or validation
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert f"en: web {100 * counts['sources']['web']['share']:.1f} % (" in caplog.text
    assert not (out / ".build").exists()
    downsampled = [read_shard(out / f"train-web-{i:05}") for i in range(2)]
    assert 0.9 < len(downsampled[0]) / len(downsampled[1]) * 150 / 250 < 1.1  # evenly over the shards


def test_max_tokens_limits_a_source(tmp_path: Path, corpus: Path, trained: Path) -> None:
    build_tokens(tokens_spec("en", web=(None, 3000), books=(None, None)), corpus, trained, tmp_path / "out")
    sources = read_manifest(tmp_path / "out", "tokens").counts["sources"]
    assert 2800 < sources["web"]["tokens"] <= 3000 < sources["web"]["available"]
    assert sources["books"]["tokens"] == sources["books"]["available"] and sources["books"]["weight"] is None
    assert sources["web"]["share"] + sources["books"]["share"] == pytest.approx(1)


def test_a_split_that_is_left_empty_is_an_error(tmp_path: Path, corpus: Path, trained: Path) -> None:
    spec = tokens_spec("en", web=(None, 1), books=(None, 1))
    with pytest.raises(DataError, match="leaves no document of train; raise max_tokens"):
        build_tokens(spec, corpus, trained, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_without_downsampling_nothing_is_written_twice(
    tmp_path: Path, corpus: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    honest = ShardWriter.__enter__

    def enter(self: ShardWriter) -> ShardWriter:
        written.append(str(self._bin))
        return honest(self)

    monkeypatch.setattr(ShardWriter, "__enter__", enter)
    monkeypatch.setattr(mixture_module, "copy_documents", None)
    monkeypatch.setattr("shutil.copyfile", None)
    build_tokens(tokens_spec("en", web=(None, 10**9), books=(None, None)), corpus, trained, tmp_path / "out")
    assert len(written) == len(set(written)) == 6


def test_validation_begins_with_all_sources(tmp_path: Path, corpus: Path, trained: Path) -> None:
    build_tokens(tokens_spec("en", web=(None, None), books=(None, None)), corpus, trained, tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    documents = [tokenizer.decode(tokens.tolist()) for tokens in Documents(tmp_path / "out", "validation")]
    assert len(documents) == 52
    assert abs(sum(text.startswith("held books") for text in documents[:13]) - 3) <= 1


def test_a_shard_of_an_unknown_source_is_an_error(tmp_path: Path, corpus: Path, trained: Path) -> None:
    with pytest.raises(DataError, match=r"of source 'books', expected one of web; delete .*manifest\.json"):
        build_tokens(tokens_spec("en", web=(None, None)), corpus, trained, tmp_path / "out")
