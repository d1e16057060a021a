"""What the page is made from: the files that the evaluation and the scaling analysis left, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from palimpsest.artifact import file_digest
from palimpsest.evaluate.results.eval_all import EvalAll, read_eval_all
from palimpsest.evaluate.results.scaling_results import ScalingResults, read_scaling_results
from palimpsest.report import dropped_documents
from palimpsest.report.dropped_documents import DroppedDocuments
from palimpsest.report.training_curves import Line, read_gradient_cosines, read_loss_curves


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """``origins``: name and xxh3-128 of each file; the page is a function of these and of nothing else."""

    results: EvalAll
    curves: Sequence[Line]
    dropped: DroppedDocuments = field(default_factory=dict)
    cosines: Sequence[Line] = ()
    scaling: ScalingResults | None = None
    origins: Sequence[tuple[str, str]] = ()


def read(
    eval_all: Path, curves: Path, corpora: list[Path], alignment: Path | None = None, scaling: Path | None = None
) -> Inputs:
    """Raises ArtifactError when a file is missing or of another form. Lines of arms without results are left out."""
    results = read_eval_all(eval_all)
    cosines = read_gradient_cosines(alignment) if alignment else []
    return Inputs(
        results=results,
        curves=[line for line in read_loss_curves(curves) if line.arm in results.arms],
        dropped=dropped_documents.read(corpora),
        cosines=[line for line in cosines if line.arm in results.arms],
        scaling=read_scaling_results(scaling) if scaling else None,
        origins=[(path.name, file_digest(path)) for path in (eval_all, curves, alignment, scaling) if path],
    )
