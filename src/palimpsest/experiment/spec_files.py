"""Specs as files, which the workflow's rules hand to their stages: an argument could be longer than Linux allows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from palimpsest.artifact import fingerprint
from palimpsest.codec import encode, fingerprint_fields

_DIGITS = 16


def write_spec(stage: str, spec: Any, folder: Path) -> str:
    """Write ``folder``/{name}.json unless it exists with these contents; returns its name, {stage}-{hash}.

    The hash is the spec's fingerprint, which a rule lists among its params: an option excluded from it, such as the
    interval of checkpoints, changes the file and not its name. The file is written atomically and not fsynced, since
    it is written again whenever the params are read.
    """
    name = f"{stage}-{fingerprint(fingerprint_fields(spec))[:_DIGITS]}"
    text = json.dumps(encode(spec), ensure_ascii=False, sort_keys=True, indent=1) + "\n"
    path = folder / f"{name}.json"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{name}.{os.getpid()}.tmp"
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    return name
