"""What every part of params.yaml is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction01 = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of params.yaml. Unknown keys are refused, and values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
