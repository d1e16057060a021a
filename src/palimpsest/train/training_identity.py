"""Which training run a folder holds, and which checkpoints it can resume from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from palimpsest.artifact import fingerprint
from palimpsest.codec import fingerprint_fields
from palimpsest.specs.training import TrainSpec


@dataclass(frozen=True, kw_only=True)
class TrainingIdentity:
    """A training run: its spec, and the hash of each input's manifest by role."""

    spec: TrainSpec
    input_digests: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Equal for runs that end with equal bytes."""
        return self._fingerprint(self.spec)

    @property
    def resume_fingerprint(self) -> str:
        """Equal for runs that can resume from each other's checkpoints: the number of processes may differ."""
        return self._fingerprint(replace(self.spec, train=replace(self.spec.train, processes=1, sharding="ddp")))

    def _fingerprint(self, spec: TrainSpec) -> str:
        return fingerprint({"spec": fingerprint_fields(spec), "inputs": dict(self.input_digests)})
