"""``palimpsest <stage> …``: what the workflow's rules call, and what a person can call.

A stage takes its spec as a JSON file, which the workflow writes to .snakemake/specs, and the folders that it reads and
writes. The stages scaling and report read results alone and have no spec.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from palimpsest import codec
from palimpsest.errors import PalimpsestError

logger = logging.getLogger(__name__)
Command = Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a PalimpsestError becomes one line on standard error and exit code 1."""
    options = _parser().parse_args(arguments)
    # What jobs print in parallel would be mixed up without a name before it.
    label = f"[{options.label}] " if options.label else ""
    logging.basicConfig(level=logging.INFO, format=f"{label}%(message)s", stream=sys.stderr)
    logging.getLogger("datatrove").setLevel(logging.WARNING)
    try:
        options.run(options)
    except PalimpsestError as error:
        sys.stderr.write(f"{label}error: {error}\n")
        return 1
    except OSError as error:
        if error.strerror is None:  # not from the system: a bug of ours or of a library, which needs its traceback
            raise
        sys.stderr.write(f"{label}error: {error.filename or 'writing or reading'}: {error.strerror}\n")
        return 1
    return 0


def _raw(options: argparse.Namespace) -> None:
    from palimpsest.raw.build_raw import build_raw
    from palimpsest.specs.data import RawSpec

    build_raw(codec.read(RawSpec, options.spec), options.out, Path(".snakemake/inventory.json"))


def _corpus(options: argparse.Namespace) -> None:
    from palimpsest.corpus.build_corpus import build_corpus
    from palimpsest.specs.data import CorpusSpec

    build_corpus(codec.read(CorpusSpec, options.spec), options.raw, options.out, options.workers)


def _tokenizer(options: argparse.Namespace) -> None:
    from palimpsest.specs.data import TokenizerSpec
    from palimpsest.tokens.build_tokenizer import build_tokenizer

    build_tokenizer(codec.read(TokenizerSpec, options.spec), _by_language(options.corpora), options.out)


def _tokens(options: argparse.Namespace) -> None:
    from palimpsest.specs.data import TokensSpec
    from palimpsest.tokens.build_tokens import build_tokens

    spec = codec.read(TokensSpec, options.spec)
    build_tokens(spec, options.corpus, options.tokenizer, options.out, options.workers)


def _replay(options: argparse.Namespace) -> None:
    from palimpsest.replay.build_pool import build_pool
    from palimpsest.specs.data import PoolSpec

    build_pool(codec.read(PoolSpec, options.spec), _by_language(options.tokens), options.out)


def _init(options: argparse.Namespace) -> None:
    from palimpsest.specs.training import InitSpec
    from palimpsest.train.init_model import init_model

    init_model(codec.read(InitSpec, options.spec), options.tokenizer, options.out)


def _train(options: argparse.Namespace) -> None:
    # cuBLAS is deterministic only with a fixed workspace, which must be set before CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Compiled code serves the next stage and job too; the temporary folder may be emptied between them.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path("~/.cache/palimpsest/inductor").expanduser()))
    from palimpsest.specs.training import TrainSpec
    from palimpsest.train.trainer import train
    from palimpsest.train.training_parts import Inputs

    if int(os.environ.get("RANK", 0)):
        logging.getLogger("palimpsest").setLevel(logging.WARNING)
    spec = codec.read(TrainSpec, options.spec)
    tokens = _by_language(options.tokens)
    inputs = Inputs(parent=options.parent, tokenizer=options.tokenizer, tokens=tokens, pool=options.pool)
    train(spec, inputs, options.out, discard_checkpoints=options.discard_checkpoints)


def _evaluate(options: argparse.Namespace) -> None:
    from palimpsest.specs.evaluation import EvaluationSpec

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as for training
    from palimpsest.evaluate.evaluate_checkpoint import evaluate_checkpoint

    spec = codec.read(EvaluationSpec, options.spec)
    evaluate_checkpoint(spec, options.parent, options.tokenizer, _by_language(options.tokens), options.out)


def _tasks(options: argparse.Namespace) -> None:
    from palimpsest.evaluate.run_tasks import run_tasks
    from palimpsest.specs.evaluation import TasksSpec

    run_tasks(codec.read(TasksSpec, options.spec), options.parent, _by_language(options.raw), options.out)


def _gather(options: argparse.Namespace) -> None:
    from palimpsest.evaluate.gather_results import gather_results
    from palimpsest.specs.evaluation import GatherSpec

    gather_results(codec.read(GatherSpec, options.spec), Path())


def _sweep(options: argparse.Namespace) -> None:
    from palimpsest.evaluate.gather_sweep import gather_sweep
    from palimpsest.specs.evaluation import SweepSpec

    gather_sweep(codec.read(SweepSpec, options.spec), Path())


def _scaling(options: argparse.Namespace) -> None:
    from palimpsest.evaluate.scaling_analysis import analyse_scaling

    analyse_scaling(options.sweep, options.out)


def _report(options: argparse.Namespace) -> None:
    from palimpsest.report.build_report import build_report

    build_report(options.eval_all, options.curves, options.corpora, options.out, options.alignment, options.scaling)


def _table(options: argparse.Namespace) -> None:
    from palimpsest.evaluate.results.eval_all import read_eval_all
    from palimpsest.report.terminal_table import headline

    sys.stdout.write(headline(read_eval_all(options.eval_all)) + "\n")


def _check(options: argparse.Namespace) -> None:
    from palimpsest.experiment.experiment import Experiment
    from palimpsest.params import read

    Experiment(read(options.params), Path(".snakemake/inventory.json"), str(options.params))
    logger.info("%s is valid", options.params)


def _plan(options: argparse.Namespace) -> None:
    from palimpsest.plan.build_plan import build_plan, check_disk_space
    from palimpsest.plan.plan_table import format_plan
    from palimpsest.plan.run_plan import plan_json

    plan = build_plan(options.params, options.gpu, options.gpus, options.mfu, options.disk)
    text = json.dumps(plan_json(plan), ensure_ascii=False, indent=1) + "\n" if options.json else format_plan(plan)
    sys.stdout.write(text)
    sys.stdout.flush()
    check_disk_space(plan)


def _reference(_options: argparse.Namespace) -> None:
    from palimpsest.params.reference import markdown

    sys.stdout.write(markdown())


def _by_language(folders: list[Path]) -> dict[str, Path]:
    return {folder.name: folder for folder in folders}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="palimpsest", description="The stages of the pipeline, and tools for its users."
    )
    parser.add_argument("--label", help="prefix of every line of the log")
    commands = _Commands(parser.add_subparsers(required=True, metavar="command"))
    _add_data_stages(commands)
    _add_training_stages(commands)
    _add_result_stages(commands)
    _add_tools(commands)
    return parser


class _Commands:
    """Adds commands to the parser."""

    def __init__(self, subparsers: Any) -> None:
        self._subparsers = subparsers

    def stage(self, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
        """A stage with a spec."""
        command = self.tool(name, run, summary)
        command.add_argument("--spec", type=Path, required=True, help="the stage's spec, a JSON file")
        return command

    def tool(self, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
        """A command without a spec."""
        command: argparse.ArgumentParser = self._subparsers.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        return command


def _add_data_stages(commands: _Commands) -> None:
    command = commands.stage("raw", _raw, "generate, inventory or download a language's documents")
    _add_paths(command, "out")
    command = commands.stage("corpus", _corpus, "clean and deduplicate a language's documents")
    _add_paths(command, "raw", "out")
    command.add_argument("--workers", type=int, default=1)
    command = commands.stage("tokenizer", _tokenizer, "train the tokenizer")
    _add_paths(command, "corpora", nargs="+")
    _add_paths(command, "out")
    command = commands.stage("tokens", _tokens, "encode a language into shards")
    _add_paths(command, "corpus", "tokenizer", "out")
    command.add_argument("--workers", type=int, default=1)
    command = commands.stage("replay", _replay, "plan the replay pool of a stage")
    _add_paths(command, "tokens", nargs="+")
    _add_paths(command, "out")


def _add_training_stages(commands: _Commands) -> None:
    command = commands.stage("init", _init, "build the initial model")
    _add_paths(command, "tokenizer", "out")
    command = commands.stage("train", _train, "train one stage; resumes from its last checkpoint")
    _add_paths(command, "parent", "tokenizer", "out")
    _add_paths(command, "tokens", nargs="+")
    _add_paths(command, "pool", required=False)
    discard = "remove the checkpoints of a run with different data or params"
    command.add_argument("--discard-checkpoints", action="store_true", help=discard)


def _add_result_stages(commands: _Commands) -> None:
    command = commands.stage("evaluate", _evaluate, "a checkpoint's held-out loss on every language")
    _add_paths(command, "parent", "tokenizer", "out")
    _add_paths(command, "tokens", nargs="+")
    command = commands.stage("tasks", _tasks, "a checkpoint's scores on zero-shot tasks")
    _add_paths(command, "parent", "out")
    _add_paths(command, "raw", required=False, nargs="*", default=[])
    commands.stage("gather", _gather, "write results/eval_all.json and the tables")
    commands.stage("sweep", _sweep, "write results/sweep.json")
    command = commands.tool("scaling", _scaling, "fit scaling laws to results/sweep.json")
    _add_paths(command, "sweep", "out")
    command = commands.tool("report", _report, "write the HTML page")
    _add_paths(command, "eval-all", "curves", "alignment", "scaling", "out")
    _add_paths(command, "corpora", nargs="+")


def _add_tools(commands: _Commands) -> None:
    command = commands.tool("table", _table, "print the headline table")
    _add_paths(command, "eval-all", required=False, default=Path("results/eval_all.json"))
    command = commands.tool("check", _check, "validate a params file")
    command.add_argument("params", type=Path, nargs="?", default=Path("params.yaml"))
    command = commands.tool("plan", _plan, "print the tokens, FLOPs, hours and disk that a params file needs")
    command.add_argument("params", type=Path, nargs="?", default=Path("params.yaml"))
    command.add_argument("--gpu", default="H100", help="type of accelerator (H100)")
    command.add_argument("--gpus", type=int, help="number of accelerators (default: as many as one run uses)")
    command.add_argument("--mfu", type=float, default=0.4, help="model FLOPs utilisation of training (0.4)")
    command.add_argument("--disk", type=Path, default=Path(), help="folder on the disk to check (the current one)")
    command.add_argument("--json", action="store_true", help="print JSON")
    commands.tool("reference", _reference, "print docs/params.md")


def _add_paths(command: argparse.ArgumentParser, *names: str, **options: Any) -> None:
    for name in names:
        command.add_argument(f"--{name}", type=Path, **{"required": True} | options)


if __name__ == "__main__":
    sys.exit(main())
