"""What every part of params.yaml is made of."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction01 = Annotated[float, Field(ge=0, le=1)]


def expand(path: str) -> str:
    """A path from params.yaml with ~ and ${VARIABLES} filled in; specs keep it unfilled, so a move reruns nothing."""
    return os.path.expanduser(os.path.expandvars(path))


class Section(BaseModel):
    """A part of params.yaml. Unknown keys are refused, and values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
