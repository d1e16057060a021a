"""The spec of every stage: the params that shape it and no others, so that unrelated edits rerun nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from palimpsest.artifact import file_digest, fingerprint
from palimpsest.codec import fingerprint_fields
from palimpsest.errors import ParamsError
from palimpsest.experiment.inventory import Inventories, Inventory
from palimpsest.settings.base import expand
from palimpsest.settings.model import Model
from palimpsest.settings.params import Params
from palimpsest.settings.replay import ReplayShare, ReplaySpec
from palimpsest.specs.data import (
    CorpusSpec,
    MixtureShare,
    NewText,
    PastText,
    PoolSpec,
    RawSpec,
    TokenizerSpec,
    TokensSpec,
)
from palimpsest.specs.evaluation import EvaluationSpec, TaskSpec, TasksSpec
from palimpsest.specs.training import FolderModel, HubModel, InitSpec, ModelSpec, RandomModel, TrainSpec


def raw_spec(params: Params, language: str, inventory: Inventory) -> RawSpec:
    """Excludes the mixture of sources (``weight``, ``max_tokens``): only the tokens stage reads it."""
    sources = tuple(replace(source, weight=None, max_tokens=None) for source in params.corpus.sources[language])
    return RawSpec(language=language, sources=sources, inventory=dict(inventory.sources))


def corpus_spec(params: Params, language: str, inventory: Inventory) -> CorpusSpec:
    """Of each source, includes only what cleaning reads: the paths of local files, the columns and the quotas."""
    corpus = params.corpus
    return CorpusSpec(
        language=language,
        sources=tuple(
            replace(source, weight=None, max_tokens=None, licence=None, origin=None)
            for source in corpus.sources[language]
        ),
        cleaning=params.cleaning(language),
        validation_fraction=corpus.validation_fraction,
        shard_mb=corpus.shard_mb,
        on_bad_file=corpus.on_bad_file,
        evaluation=inventory.evaluation,
    )


def tokenizer_spec(params: Params) -> TokenizerSpec:
    """A pretrained tokenizer file is identified by its contents, so that a replaced file is noticed."""
    path = params.tokenizer.path
    return TokenizerSpec(
        languages=tuple(sorted(params.languages)),
        tokenizer=params.tokenizer,
        content=file_digest(Path(expand(path))) if path else None,
    )


def tokens_spec(params: Params, language: str) -> TokensSpec:
    sources = params.corpus.sources[language]
    shares = {str(each.name): MixtureShare(weight=each.weight, max_tokens=each.max_tokens) for each in sources}
    return TokensSpec(language=language, sources=shares)


def data_fingerprints(params: Params, inventories: Inventories) -> dict[str, str]:
    """By language, a hash of everything that shapes its token shards: known before any of them is written."""
    cleaned = {
        language: fingerprint(
            [fingerprint_fields(build(params, language, inventories[language])) for build in (raw_spec, corpus_spec)]
        )
        for language in params.languages
    }
    shared = fingerprint(
        [fingerprint_fields(tokenizer_spec(params)), [cleaned[language] for language in sorted(cleaned)]]
    )
    return {
        language: fingerprint([shared, cleaned[language], fingerprint_fields(tokens_spec(params, language))])
        for language in params.languages
    }


def init_spec(params: Params, seed: int, data: Mapping[str, str]) -> InitSpec:
    return InitSpec(
        model=model_spec(params.model),
        context_length=params.train.context_length,
        seed=seed,
        data_fingerprint=fingerprint(data),
    )


def train_spec(params: Params, arm: str, seed: int, parent: TrainSpec | None, data: Mapping[str, str]) -> TrainSpec:
    """The stage that follows ``parent``, or the first one. The arm ``joint`` has a single stage of all languages."""
    joint, stage = arm == "joint", parent.stage + 1 if parent else 1
    languages = params.languages if joint else params.languages[stage - 1 : stage]
    past = (*parent.past, *(_past_text(new, parent.replay) for new in parent.new)) if parent else ()
    # Arms differ from the second stage on: the first stage is the base model that all of them share.
    replay = None if joint or not parent else _replay_spec(params, arm, languages[0])
    return TrainSpec(
        stage=stage,
        stages=1 if joint else len(params.languages),
        new=tuple(
            NewText(language=language, sequences=params.train.steps * params.train.batch_size) for language in languages
        ),
        past=past,
        languages=params.languages,
        replay=replay,
        mer=params.mer if parent and arm in ("reptile", "mer") else None,
        seed=seed,
        train=params.train,
        data_fingerprints=dict(data),
        pool_revision=PoolSpec.revision if replay else None,
    )


def pool_spec(stage: TrainSpec) -> PoolSpec:
    """The pool of a stage that replays."""
    assert stage.replay is not None
    return PoolSpec(
        stage=stage.stage,
        seed=stage.seed,
        context_length=stage.train.context_length,
        batch_size=stage.train.batch_size,
        new=stage.new[0],
        past=stage.past,
        replay=stage.replay,
    )


def evaluation_spec(params: Params) -> EvaluationSpec:
    """Excludes ``evaluate.bootstrap``: only the gather stage reads it."""
    evaluate = params.evaluate
    return EvaluationSpec(
        languages=params.languages,
        max_tokens=evaluate.max_tokens,
        max_document_tokens=evaluate.max_document_tokens,
        batch_size=evaluate.batch_size,
        sample_tokens=evaluate.sample_tokens,
        context_length=params.train.context_length,
        threads=params.train.threads,
    )


def tasks_spec(params: Params, tasks: Sequence[TaskSpec]) -> TasksSpec:
    languages = {task.sample for task in tasks}
    return TasksSpec(
        tasks=tuple(tasks),
        samples={language: name for language, name in sample_sources(params).items() if language in languages},
        data_folder=params.evaluate.task_data,
        source=params.evaluate.task_source,
        limit=params.evaluate.task_limit,
        batch_size=params.evaluate.batch_size,
        threads=params.train.threads,
    )


def sample_sources(params: Params) -> dict[str, str]:
    """By language, the name of its source of kind sample, where it has one."""
    return {
        language: str(source.name)
        for language in params.languages
        for source in params.corpus.sources[language]
        if source.kind == "sample"
    }


def recorded_params(params: Params) -> Params:
    """The params as results record them: the languages that are used, and task files by name."""
    corpus = params.corpus
    return replace(
        params,
        corpus=replace(
            corpus,
            sources={language: corpus.sources[language] for language in params.languages},
            overrides={name: keys for name, keys in corpus.overrides.items() if name in params.languages},
        ),
        evaluate=replace(params.evaluate, tasks=tuple(Path(task).stem for task in params.evaluate.tasks)),
    )


def _past_text(new: NewText, replay: ReplaySpec | None) -> PastText:
    share = ReplayShare(rate=replay.rate, accounting=replay.accounting) if replay else None
    return PastText(language=new.language, sequences=new.sequences, replay=share)


def _replay_spec(params: Params, arm: str, language: str) -> ReplaySpec | None:
    replay = params.replay
    rate = replay.rates.get(language, replay.rate)
    if arm not in ("replay", "mer") or rate == Decimal(0):
        return None
    return ReplaySpec(rate=rate, accounting=replay.accounting, scope=replay.scope, capacity=replay.capacity)


def model_spec(model: Model) -> ModelSpec:
    if model.hub:
        return HubModel(hub=model.hub, revision=str(model.revision))
    if model.path:
        return FolderModel(path=model.path, content=_content(expand(model.path)))
    layers, width, heads, ffn = model.sizes.values()
    return RandomModel(layers=layers, width=width, heads=heads, ffn=ffn, tie_embeddings=model.tie_embeddings)


@functools.cache
def _content(folder: str) -> str:
    """A hash of a model's weights, config and tokenizer, computed once in a process."""
    weights = sorted(Path(folder).glob("*.safetensors"))
    described = [Path(folder) / name for name in ("config.json", "tokenizer.json")]
    if not weights or not all(path.is_file() for path in described):
        raise ParamsError(
            f"model.path: {folder!r}: expected a folder with config.json, tokenizer.json and *.safetensors files"
        )
    return fingerprint([[path.name, file_digest(path)] for path in [*described, *weights]])
