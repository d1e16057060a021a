"""Experience replay and MER."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from palimpsest.settings.base import Fraction01, Positive, Rate, Settings, setting

Accounting = Literal["add", "replace"]
Scope = Literal["past", "balanced", "seen", "capacity"]


@dataclass(frozen=True, kw_only=True)
class ReplayShare(Settings):
    """How much of every batch is replayed, and what that does to the budget of new sequences."""

    rate: Rate = setting(Decimal("0.25"), "α: replayed sequences over all sequences of a batch, in [0, 1)")
    accounting: Accounting = setting(
        "add", "add: a stage's new tokens stay fixed, compute grows by 1/(1-α); replace: compute stays fixed"
    )


@dataclass(frozen=True, kw_only=True)
class ReplaySpec(ReplayShare):
    """What a stage replays: which fraction of a batch, and from which sequences it is drawn."""

    scope: Scope = setting(
        "past",
        "past: all sequences that earlier stages trained on, equally likely; balanced: every past language "
        "equally likely; seen: also the stage's own earlier batches; capacity: those in a reservoir of bounded size",
    )
    capacity: Positive | None = setting(None, "scope capacity: size of the reservoir, in sequences")

    def __post_init__(self) -> None:
        if (self.scope == "capacity") != (self.capacity is not None):
            raise ValueError(
                f"scope is {self.scope} and capacity {self.capacity}; scope: capacity and a number go together"
            )


@dataclass(frozen=True, kw_only=True)
class Replay(ReplaySpec):
    """Experience replay (paper section 3): a fixed fraction of every batch comes from earlier languages."""

    rates: Mapping[str, Rate] = setting({}, "language → α in the stage of that language, in place of rate")


@dataclass(frozen=True, kw_only=True)
class Mer(Settings):
    """Meta-experience replay: replay with a Reptile interpolation every k optimiser steps (paper section 3)."""

    interval: Positive = setting(20, "k: optimiser steps in a window")
    step_size: Fraction01 = setting(0.8, "ε: θ ← a + ε(θ - a) at a window's end")
    moments: Literal["keep", "reset"] = setting(
        "keep", "AdamW's moments after an interpolation: unchanged, or zeroed as before the first step"
    )
