"""Stage gather: results/eval_all.json from all checkpoints, metrics.json for ``dvc metrics``, and the CSV files.

The numbers come from arm_summary.py (arms over seeds) and evaluated_checkpoint.py (single checkpoints).
"""

from __future__ import annotations

from pathlib import Path

from palimpsest.artifact import read_manifest
from palimpsest.codec import decode, fingerprint_fields
from palimpsest.evaluate.arm_summary import summarise_arm
from palimpsest.evaluate.csv_tables import write_plots, write_tables
from palimpsest.evaluate.evaluated_checkpoint import ancestors, final_lineages, read_checkpoints
from palimpsest.evaluate.results.arm_metrics import arm_metrics, write_arm_metrics
from palimpsest.evaluate.results.checkpoint_results import read_task_results
from palimpsest.evaluate.results.dataset_summary import BadFile, LanguageSummary, SourceSummary, SplitCounts
from palimpsest.evaluate.results.eval_all import EvalAll, TaskInfo, write_eval_all
from palimpsest.settings.sources import Sources
from palimpsest.specs.evaluation import FinalCheckpoints, GatherSpec


def gather_results(spec: GatherSpec, root: Path) -> None:
    """Write eval_all.json, metrics.json, tables/ and plots/ in ``root``/results; ``root`` has data/ and runs/ too."""
    params, sources = spec.params, spec.params.corpus.sources
    # The spec comes from JSON with sorted keys, so the order is that of the params.
    arms: FinalCheckpoints = {arm: spec.arms[arm] for arm in params.arms}
    checkpoints = read_checkpoints(root, final_lineages(arms), tasks=bool(params.evaluate.tasks))
    arms_of = _arms_of(arms)
    results = EvalAll(
        sample=any(source.kind == "sample" for of_language in sources.values() for source in of_language),
        params=fingerprint_fields(params),
        languages=params.languages,
        tasks=_tasks(root, arms) if params.evaluate.tasks else {},
        arms={arm: summarise_arm(seeds, checkpoints) for arm, seeds in arms.items()},
        runs={
            lineage: checkpoint.summary(arms_of[lineage], params.evaluate.bootstrap)
            for lineage, checkpoint in checkpoints.items()
        },
        data={language: _language_summary(root, language, sources[language]) for language in params.languages},
    )
    write_plots(results, root, arms)
    write_tables(results, root / "results" / "tables")
    write_arm_metrics(root / "results" / "metrics.json", {arm: arm_metrics(each) for arm, each in results.arms.items()})
    write_eval_all(root / "results" / "eval_all.json", results)


def _arms_of(arms: FinalCheckpoints) -> dict[str, list[str]]:
    """Lineage → the arms that it is part of."""
    found: dict[str, list[str]] = {}
    for arm, seeds in arms.items():
        for lineage in {each for last in seeds.values() for each in ancestors(last)}:
            found.setdefault(lineage, []).append(arm)
    return found


def _tasks(root: Path, arms: FinalCheckpoints) -> dict[str, TaskInfo]:
    """The tasks of one checkpoint, since all checkpoints run the same tasks."""
    any_lineage = next(iter(next(iter(arms.values())).values()))
    return {
        task: TaskInfo(language=result.language, metric=result.metric, chance=result.chance)
        for task, result in read_task_results(root / "results" / "tasks" / any_lineage).items()
    }


def _language_summary(root: Path, language: str, sources: Sources) -> LanguageSummary:
    """Counts from the manifests of the raw, corpus, tokens and tokenizer stages."""
    raw, corpus, tokens = (
        read_manifest(root / "data" / stage / language, stage).counts for stage in ("raw", "corpus", "tokens")
    )
    fertility = read_manifest(root / "data" / "tokenizer", "tokenizer").counts["fertility"][language]
    return LanguageSummary(
        sources={
            str(source.name): SourceSummary(
                kind=source.kind,
                licence=raw["sources"][str(source.name)]["licence"],
                documents_in=corpus["sources"][str(source.name)]["documents_in"],
                documents=corpus["sources"][str(source.name)]["train"]["documents"],
                tokens=tokens["sources"][str(source.name)]["tokens"],
                share=tokens["sources"][str(source.name)]["share"],
            )
            for source in sources
        },
        documents_in=corpus["documents_in"],
        dropped=corpus["dropped"],
        masked=corpus["masked"],
        bad_files=decode(tuple[BadFile, ...], corpus["bad_files"], f"data/corpus/{language}"),
        train=decode(SplitCounts, tokens["train"], f"data/tokens/{language}: train"),
        validation=decode(SplitCounts, tokens["validation"], f"data/tokens/{language}: validation"),
        tokens_per_byte=fertility["tokens_per_byte"],
        tokens_per_word=fertility["tokens_per_word"],
    )
