"""Made-up but plausible results: what the report reads, without a training."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from palimpsest.artifact import write_json
from palimpsest.evaluate.results.eval_all import EvalAll, read_eval_all

ARMS = ("sequential", "replay", "mer", "joint")
_START, _FLOOR = 7.62, {"en": 2.31, "fr": 2.18, "de": 2.44, "ar": 2.71, "ja": 2.93}
_DRIFT = {"sequential": 0.62, "reptile": 0.4, "replay": 0.11, "mer": 0.07}  # nats lost to each later stage, at first
_STEPS, _BATCH, _CONTEXT, _FLOPS_PER_TOKEN = 150, 16, 128, 1_620_000
_LINEAGE_RATE = {"replay": "+r25", "mer": "+r25+mer", "reptile": "+reptile"}

TASKS = {
    "cloze_en": {"language": "en", "metric": "acc", "chance": 0.25},
    "xwinograd_fr": {"language": "fr", "metric": "acc", "chance": 0.5},
    "pubmedqa": {"language": None, "metric": "acc", "chance": None},
}
_PHRASES = {
    "en": ("The miller of the valley had", " three sons, and the eldest was the first to leave the house."),
    "fr": ("Le meunier de la vallée avait", " trois fils, et l’aîné fut le premier à quitter la maison."),
    "de": ("Der Müller im Tal hatte", " drei Söhne, und der älteste verließ als erster das Haus."),
    "ar": ("كان لطحان الوادي", " ثلاثة أبناء، وكان أكبرهم أول من غادر البيت."),
    "ja": ("谷の粉屋には", "三人の息子がいて、長男が最初に家を出た。"),
}  # fmt: skip
_REPLAY = {"rate": "0.25", "accounting": "add", "scope": "past", "capacity": None}
_MER = {"interval": 20, "step_size": 0.5, "moments": "keep"}

Matrix = dict[str, dict[str, float]]


class MadeResults:
    """Results for some languages, arms and seeds: ``value`` is eval_all.json, ``rows`` loss_curves.csv."""

    def __init__(
        self, languages: tuple[str, ...] = ("en", "fr", "de"), arms: tuple[str, ...] = ARMS, seeds: int = 1
    ) -> None:
        self.languages, self.arms, self.seeds = languages, arms, seeds
        self.runs: dict[str, Any] = {}
        summary = {arm: self._arm(arm) for arm in arms}
        self.value: dict[str, Any] = {
            "format": "palimpsest.eval_all/1",
            "sample": True,
            "params": {
                "languages": list(languages),
                "arms": list(arms),
                "replay": _REPLAY,
            },
            "languages": list(languages),
            "arms": summary,
            "tasks": TASKS,
            "runs": self.runs,
            "data": {language: _data(index) for index, language in enumerate(languages)},
        }
        self.rows = [row for arm in arms for seed in range(seeds) for row in self._curve(arm, seed)]

    def read(self) -> EvalAll:
        """As the report reads it."""
        with tempfile.TemporaryDirectory() as folder:
            return read_eval_all(self.write(Path(folder))[0])

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write eval_all.json and loss_curves.csv below ``folder``."""
        eval_all, curves = folder / "eval_all.json", folder / "plots" / "loss_curves.csv"
        write_json(eval_all, self.value)
        curves.parent.mkdir(parents=True, exist_ok=True)
        with curves.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(
                file, ["arm", "seed", "stage", "language", "step", "tokens", "loss"], lineterminator="\n"
            )
            table.writeheader()
            table.writerows(self.rows)
        return eval_all, curves

    def matrix(self, arm: str, seed: int) -> Matrix:
        stages = ["joint"] if arm == "joint" else list(self.languages)
        return {
            stage: {language: self._loss(arm, seed, index, language, 1.0) for language in self.languages}
            for index, stage in enumerate(["init", *stages])
        }

    def _loss(self, arm: str, seed: int, stage: int, language: str, share: float) -> float:
        """Loss ``share`` of the way through stage number ``stage`` (0: before any)."""
        own = 1 if arm == "joint" else self.languages.index(language) + 1
        jitter = 0.02 * math.sin(7 * seed + 3 * own + len(arm))
        if stage < own:
            return _START + jitter + 0.25 * (stage - 1 + share if stage else 0) * math.cos(own)
        learned = (
            _FLOOR.get(language, 2.5) + (0.06 if arm == "mer" and own > 1 else 0.12 if arm == "joint" else 0) + jitter
        )
        if stage == own:
            return learned + (_START - learned) * math.exp(-5 * share)
        return learned + _DRIFT.get(arm, 0.3) * (1 + 0.3 * jitter / 0.02) * (stage - own - 1 + share**0.5) ** 0.8

    def _steps(self, arm: str, stage: int) -> int:
        if arm == "joint":
            return _STEPS * len(self.languages)
        return _STEPS if stage == 1 or arm not in ("replay", "mer") else _STEPS * 4 // 3

    def _arm(self, arm: str) -> dict[str, Any]:
        matrices = [self.matrix(arm, seed) for seed in range(self.seeds)]
        chains = [self._chain(arm, seed, matrix) for seed, matrix in enumerate(matrices)]
        ledgers = [self.runs[path]["ledger"] for path in chains[0][1:]]
        staged = arm != "joint"
        return {
            "stages": list(matrices[0]),
            "loss": _over_seeds(matrices),
            "bits_per_byte": _over_seeds(
                [{s: {j: x / 2.2 for j, x in row.items()} for s, row in m.items()} for m in matrices]
            ),
            "forgetting": _over_seeds([_forgetting(matrix) for matrix in matrices]) if staged else {},
            "backward_transfer": {},
            "forward_transfer": {},
            "retained_loss": _over_seeds([fmean(matrix[list(matrix)[-1]].values()) for matrix in matrices]),
            "learned_loss": _over_seeds([fmean(m[j][j] for j in self.languages) for m in matrices]) if staged else None,
            "tasks": _over_seeds(
                [
                    {
                        stage: {name: score(arm, seed, number, name) for name in TASKS}
                        for number, stage in enumerate(matrix)
                    }
                    for seed, matrix in enumerate(matrices)
                ]
            ),
            "tokens": {
                kind: sum(ledger[f"{kind}_tokens"] for ledger in ledgers) for kind in ("new", "replayed", "total")
            },
            "flops": sum(ledger["flops"] for ledger in ledgers),
            "lineages": {str(seed): chain for seed, chain in enumerate(chains)},
        }

    def _chain(self, arm: str, seed: int, matrix: Matrix) -> list[str]:
        path, chain = f"nano-s{seed}.4be1c09a", []
        for number, stage in enumerate(matrix):
            path = (
                path
                if stage == "init"
                else f"{path}/{stage}{_LINEAGE_RATE.get(arm, '') if number > 1 else ''}.{hash_of(arm, number, seed)}"
            )
            chain.append(path)
            self.runs[path] = self._run(arm, seed, stage, number, chain[-2] if number else None)
            self.runs[path]["loss"] = {
                language: {
                    "nats_per_token": loss, "bits_per_byte": loss / 2.2, "tokens": 9000, "bytes": 30_000,
                    "documents": 300, "ci95": [loss - 0.0421, loss + 0.0537],
                }
                for language, loss in matrix[stage].items()
            }  # fmt: skip
        return chain

    def _run(self, arm: str, seed: int, stage: str, number: int, parent: str | None) -> dict[str, Any]:
        total = self._steps(arm, number) * _BATCH * _CONTEXT
        replayed = total - _STEPS * _BATCH * _CONTEXT if arm != "joint" and number else 0
        return {
            "arms": [arm], "seed": seed, "stage": stage, "parent": parent, "parameters": 614_976,
            "replay": _REPLAY if arm in ("replay", "mer") and number > 1 else None,
            "mer": _MER if arm in ("mer", "reptile") and number > 1 else None,
            "tasks": {
                name: {"value": score(arm, seed, number, name), "stderr": 0.0123, "documents": 400} for name in TASKS
            },
            "samples": {language: self._samples(arm, language, stage) for language in self.languages},
            "ledger": None if stage == "init" else {
                "steps": self._steps(arm, number), "new_sequences": 0, "replayed_sequences": 0,
                "new_tokens": total - replayed, "replayed_tokens": replayed, "total_tokens": total,
                "flops": total * _FLOPS_PER_TOKEN,
            },
        }  # fmt: skip

    def _samples(self, arm: str, language: str, stage: str) -> list[dict[str, str]]:
        """Untrained noise; the language itself while it is remembered; the last stage's language once it is not."""
        prompt = _PHRASES.get(language, ("Once", ""))[0]
        known = language if stage == "joint" or arm in ("replay", "mer") else stage
        later = stage in self.languages and self.languages.index(stage) < self.languages.index(language)
        noise = "\ufffd\ufffdzx\n\nqq e e e e e e"
        text = noise if stage == "init" or later else _PHRASES.get(known, ("", " upon a time"))[1]
        return [{"prompt": prompt, "text": text}, {"prompt": f"{prompt} (2)", "text": text * 2}]

    def _curve(self, arm: str, seed: int) -> Iterator[dict[str, Any]]:
        before = 0
        for number, stage in enumerate(["joint"] if arm == "joint" else self.languages, start=1):
            steps = self._steps(arm, number)
            for step in range(0, steps + 1, 25):
                for language in self.languages:
                    loss = self._loss(arm, seed, number, language, step / steps)
                    place = {"step": before + step, "tokens": (before + step) * _BATCH * _CONTEXT}
                    yield {
                        "arm": arm,
                        "seed": seed,
                        "stage": stage,
                        "language": language,
                        **place,
                        "loss": round(loss, 5),
                    }
            before += steps


def score(arm: str, seed: int, number: int, task: str) -> float:
    return 0.26 + 0.05 * number + 0.01 * len(arm) + 0.013 * seed + 0.07 * list(TASKS).index(task)


def hash_of(*parts: object) -> str:
    return f"{sum((index + 3) * ord(letter) ** 3 for index, letter in enumerate(repr(parts))):08x}"[-8:]


def _forgetting(matrix: Matrix) -> dict[str, float]:
    rows = [row for row in matrix if row != "init"]
    return {j: matrix[rows[-1]][j] - min(matrix[s][j] for s in rows[i:-1]) for i, j in enumerate(rows[:-1])}


def _over_seeds(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {key: _over_seeds([value[key] for value in values]) for key in values[0]}
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None, "n": len(values)}


def _data(index: int) -> dict[str, Any]:
    dropped = {
        "exact duplicate": 61 + index, "near duplicate": 148 - 9 * index, "wrong language": 40 + 11 * index,
        "gopher_below_avg_threshold": 33, "char_duplicated_ratio": 17 + 4 * index, "too short": 120 if index % 2 else 7,
        "contaminated": 1,
    }  # fmt: skip
    lost = sum(dropped.values())
    return {
        "sources": {
            "sample": {
                "kind": "sample",
                "licence": None,
                "documents_in": 4000,
                "documents": 3600,
                "tokens": 990_000,
                "share": 0.75,
            },
            "wiki": {
                "kind": "hf",
                "licence": "CC BY-SA",
                "documents_in": 2000,
                "documents": 1700,
                "tokens": 330_000,
                "share": 0.25,
            },
        },
        "masked": {"email": 7, "phone": 1200} if index else {},
        "bad_files": [{"source": "wiki", "name": "a.jsonl.zst", "problem": "cut short at byte 77"}] if index else [],
        "documents_in": 6000,
        "dropped": dropped,
        "train": {"documents": 5700 - lost, "bytes": 4_120_000 + 9000 * index, "tokens": 1_480_000 + 70_000 * index},
        "validation": {"documents": 300, "bytes": 216_000, "tokens": 77_700},
        "tokens_per_byte": 0.36 + 0.013 * index,
        "tokens_per_word": 1.9 + 0.17 * index,
    }
