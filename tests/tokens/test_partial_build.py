"""A killed build resumes: finished shards are reused, nothing else is, and the bytes are those of one run."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.corpus_folder import write_corpus
from support.data_specs import tokens_spec
from support.killed_process import run_program

from palimpsest.artifact import MANIFEST
from palimpsest.codec import encode
from palimpsest.specs.data import TokensSpec
from palimpsest.tokens.build_tokens import build_tokens
from palimpsest.tokens.shard_encoder import ShardEncoder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = {name: [f"{name} {i} " + "and so on " * (i % 9) for i in range(120)] for name in ("web", "books")}
    return write_corpus(
        tmp_path_factory.mktemp("corpus") / "en",
        train={"web": [texts["web"][:40], texts["web"][40:80], texts["web"][80:]], "books": [texts["books"]]},
        validation={"web": [texts["web"][:20]], "books": [texts["books"][:20]]},
    )


@pytest.fixture
def spec() -> TokensSpec:
    """Two sources of about the same size; the web source is downsampled to a third."""
    return tokens_spec("en", web=(1.0, None), books=(3.0, None))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the shards that are encoded; a third one fails if the list begins with "stop"."""
    names: list[str] = []
    honest = ShardEncoder.write

    def write(self: ShardEncoder, source: Path, prefix: Path) -> Any:
        if names.count("stop") and len(names) == 3:
            raise RuntimeError("stopped")
        names.append(prefix.name)
        return honest(self, source, prefix)

    monkeypatch.setattr(ShardEncoder, "write", write)
    return names


def stop_after_two(corpus: Path, trained: Path, out: Path, spec: TokensSpec, encoded: list[str]) -> set[str]:
    """Build until two shards are done; returns their names."""
    encoded[:] = ["stop"]
    with pytest.raises(RuntimeError, match="stopped"):
        build_tokens(spec, corpus, trained, out)
    done = set(encoded[1:])
    assert len(done) == 2 and not (out / MANIFEST).exists()
    encoded.clear()
    return done


ALL = {f"train-web-{i:05}" for i in range(3)} | {"train-books-00000", "validation-web-00000", "validation-books-00000"}


def test_finished_shards_are_reused(
    tmp_path: Path, corpus: Path, trained: Path, spec: TokensSpec, encoded: list[str]
) -> None:
    build_tokens(spec, corpus, trained, tmp_path / "whole")
    assert set(encoded) == ALL
    done = stop_after_two(corpus, trained, tmp_path / "out", spec, encoded)
    build_tokens(spec, corpus, trained, tmp_path / "out")
    assert sorted(encoded) == sorted(ALL - done)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert not [name for name in content(tmp_path / "out") if "build" in name]


def test_another_mixture_reuses_them_too(
    tmp_path: Path, corpus: Path, trained: Path, spec: TokensSpec, encoded: list[str]
) -> None:
    other = tokens_spec("en", web=(None, None), books=(None, 500))
    build_tokens(other, corpus, trained, tmp_path / "whole")
    done = stop_after_two(corpus, trained, tmp_path / "out", spec, encoded)
    build_tokens(other, corpus, trained, tmp_path / "out")
    assert sorted(encoded) == sorted(ALL - done)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def longer_counts(path: Path) -> None:
    marker = json.loads(path.read_text())
    marker["counts"]["tokens"] += 1
    path.write_text(json.dumps(marker))


@pytest.mark.parametrize(
    ("suffix", "corrupt"),
    [
        (".json", cut),
        (".json", longer_counts),
        (".json", Path.unlink),
        (".json", lambda path: path.write_text("[1]")),
        (".json", lambda path: path.write_text('{"fingerprint": "", "counts": {"documents": 1}}')),
        (".bin", cut),
        (".idx", cut),
        (".idx", Path.unlink),
    ],
)
def test_corrupt_shards_are_encoded_again(
    tmp_path: Path,
    corpus: Path,
    trained: Path,
    spec: TokensSpec,
    encoded: list[str],
    suffix: str,
    corrupt: Callable[[Path], object],
) -> None:
    build_tokens(spec, corpus, trained, tmp_path / "whole")
    first, second = sorted(stop_after_two(corpus, trained, tmp_path / "out", spec, encoded))
    corrupt(tmp_path / "out" / ".build" / f"{first}{suffix}")
    build_tokens(spec, corpus, trained, tmp_path / "out")
    assert sorted(encoded) == sorted(ALL - {second})
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("change", ["revision", "tokenizer", "corpus"])
def test_shards_of_another_build_are_encoded_again(
    tmp_path: Path,
    corpus: Path,
    trained: Path,
    spec: TokensSpec,
    encoded: list[str],
    change: str,
) -> None:
    """Finished shards of another tokenizer, corpus or revision are removed, and so are all other files of shards."""
    stop_after_two(corpus, trained, tmp_path / "out", spec, encoded)
    for name in ("train-old-00009.bin", ".build/train-old-00009.idx", ".build/train-old-00009.json"):
        (tmp_path / "out" / name).write_bytes(b"old")
    if change == "revision":
        spec = replace(spec, revision=99)
    elif change == "tokenizer":
        trained = changed_manifest(trained, tmp_path / "tokenizer")
    else:
        texts = [[f"other text {i}" for i in range(9)]]
        both = {"web": texts, "books": texts}
        corpus = write_corpus(tmp_path / "corpus" / "en", train=both, validation=both)
    build_tokens(spec, corpus, trained, tmp_path / "out")
    assert len(encoded) == (4 if change == "corpus" else 6)
    build_tokens(spec, corpus, trained, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def changed_manifest(folder: Path, copy: Path) -> Path:
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"inputs": {}}))
    return copy


PROGRAM = """
import json, sys
from pathlib import Path
from palimpsest import codec
from palimpsest.specs.data import TokensSpec
from palimpsest.tokens.build_tokens import build_tokens
from support.killed_process import kill_at_change
spec, corpus, tokenizer, out, limit, workers = json.loads(sys.argv[1])
changes = kill_at_change(out, limit)
build_tokens(codec.decode(TokensSpec, spec, "spec"), Path(corpus), Path(tokenizer), Path(out), workers)
print(changes())
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_build_killed_twenty_times_has_the_same_bytes(
    tmp_path: Path, corpus: Path, trained: Path, spec: TokensSpec, workers: int
) -> None:
    build_tokens(spec, corpus, trained, tmp_path / "whole")
    out, rng = tmp_path / "out", random.Random(workers)

    def run(limit: int) -> subprocess.CompletedProcess[str]:
        return run_program(PROGRAM, encode(spec), str(corpus), str(trained), str(out), limit, workers)

    total, kills = int(run(0).stdout), 0
    assert content(out) == content(tmp_path / "whole") and total > 50
    while kills < 20:
        # a whole build over the last one, or what a kill left of it
        result = run(rng.randrange(1, total + 1))
        if result.returncode == 0:
            assert content(out) == content(tmp_path / "whole")
            continue
        assert result.returncode == -9, result.stderr
        kills += 1
        if (out / MANIFEST).exists():  # killed during clean-up, or before it started
            assert content(tmp_path / "whole").items() <= content(out).items()
    assert run(0).returncode == 0
    assert content(out) == content(tmp_path / "whole")
