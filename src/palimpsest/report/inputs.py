"""What the page is made from: the files that the evaluation and the scaling analysis left, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from palimpsest.artifact import file_digest
from palimpsest.report import alignment, history, results, samples, scaling
from palimpsest.report.results import Results
from palimpsest.report.samples import Samples
from palimpsest.report.scaling import Scaling


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """``origins``: name and xxh3-128 of each file; the page is a function of these and of nothing else."""

    results: Results
    curves: Sequence[history.Line]
    dropped: Samples
    alignment: Sequence[alignment.Line] = ()
    scaling: Scaling | None = None
    origins: Sequence[tuple[str, str]] = ()


def read(
    eval_all: Path, curves: Path, corpora: list[Path], aligned: Path | None = None, scaled: Path | None = None
) -> Inputs:
    """Raises ArtifactError when a file is missing or of another form. Lines of arms without results are left out."""
    found = results.read(eval_all)
    arms = {arm.name for arm in found.arms}
    lines = alignment.read(aligned) if aligned else []
    return Inputs(
        results=found,
        curves=[line for line in history.read(curves) if line.arm in arms],
        dropped=samples.read(corpora),
        alignment=[line for line in lines if line.arm in arms],
        scaling=scaling.read(scaled) if scaled else None,
        origins=[(path.name, file_digest(path)) for path in (eval_all, curves, aligned, scaled) if path],
    )
