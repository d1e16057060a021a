"""Peak memory of the data stages (raw to tokens) on ten times as much distinct text, over that on the smaller corpus.

The text is the sample corpus, generated on the fly. Every stage runs in its own processes, as in the workflow, and the
peak is the largest resident set of any of them, as the kernel reports it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks import conclude
from palimpsest.artifact import write_json
from palimpsest.codec import encode
from palimpsest.experiment import build_specs
from palimpsest.experiment.inventory import Inventory
from palimpsest.params import Params, load

# Runs the command line and prints the peak of this process or of the largest that it started.
_RUN = """
import resource, sys
from palimpsest.cli import main
code = main(sys.argv[1:])
print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
sys.exit(code)
"""


def main() -> None:
    """Print the peak of each stage at both sizes, and the ratio of the largest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000, help="of the smaller corpus")
    parser.add_argument("--language", default="fr")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    peaks = []
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            documents = times * options.documents
            stages = _peaks(Path(folder), options.language, documents, options.workers)
        print(f"{documents:,} documents:", ", ".join(f"{name} {peak:,.0f} MiB" for name, peak in stages.items()))
        peaks.append(max(stages.values()))
    conclude("memory", "the same stages on a tenth of the text", 1, {"peak_10x_over_1x": peaks[1] / peaks[0]})


def _peaks(folder: Path, language: str, documents: int, workers: int) -> dict[str, float]:
    """The peak of each stage, in MiB."""
    params = _params(folder, language, documents)
    raw, corpus, tokenizer, tokens = (folder / name for name in ("raw", language, "tokenizer", "tokens"))
    jobs = {
        "raw": [build_specs.raw_spec(params, language, Inventory()), "--out", raw],
        "corpus": [build_specs.corpus_spec(params, language, Inventory()), "--raw", raw, "--out", corpus,
                   "--workers", workers],
        "tokenizer": [build_specs.tokenizer_spec(params), "--corpora", corpus, "--out", tokenizer],
        "tokens": [build_specs.tokens_spec(params, language), "--corpus", corpus, "--tokenizer", tokenizer,
                   "--out", tokens, "--workers", workers],
    }  # fmt: skip
    peaks = {}
    for stage, (spec, *more) in jobs.items():
        write_json(folder / f"{stage}.json", encode(spec))
        peaks[stage] = _peak([stage, "--spec", str(folder / f"{stage}.json"), *map(str, more)])
    return peaks


def _params(folder: Path, language: str, documents: int) -> Params:
    source = {"kind": "sample", "documents": documents}
    values = {"languages": [language], "corpus": {"sources": {language: source}, "shard_mb": 4}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return load(folder / "params.yaml")


def _peak(arguments: list[str]) -> float:
    done = subprocess.run([sys.executable, "-c", _RUN, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout) / 1024


if __name__ == "__main__":
    main()
