"""The zero-shot tasks that params can name: built-in and user-supplied task files, and the data files they read.

Task files are YAML of lm-evaluation-harness. They are read here without the harness, which takes seconds to import, to
find which data files a task needs and whether anything that it depends on has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from palimpsest.artifact import file_digest, fingerprint
from palimpsest.errors import DataError, ParamsError
from palimpsest.evaluate.task_config import TaskConfig, read_task_config
from palimpsest.settings.base import expand
from palimpsest.specs.evaluation import TaskSpec

_FILES = Path(__file__).with_name("task_files")
# The datasets library's names for data sets that are local files.
_FORMATS = ("json", "csv", "parquet", "text")

# The params keys that errors name.
_TASKS, _DATA = "evaluate.tasks", "evaluate.task_data"


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """A task file. ``config`` has its includes merged in; functions are replaced by their name and hash.

    ``chance`` (the score of guessing), ``language`` and ``version`` are its metadata, None if it has none.
    """

    path: Path
    built_in: bool
    config: TaskConfig
    chance: float | None
    language: str | None
    version: int | float | str | None

    @property
    def name(self) -> str:
        return str(self.config["task"])

    @property
    def metadata(self) -> Mapping[str, Any]:
        return _metadata(self.config)

    @property
    def uses_sample_corpus(self) -> bool:
        """True if the questions are about the sample corpus, which is generated with them."""
        return self.built_in and bool(self.metadata.get("sample"))

    def from_hub(self, source: str) -> bool:
        """True if the data comes from the hub; ``source`` is "local" or "hub"."""
        return source == "hub" and ("hub" in self.metadata or self.config.get("dataset_path") not in _FORMATS)

    def files(self) -> list[str]:
        """The data files as the task file names them."""
        return list(_file_names(self._data_files()))

    def overrides(self, source: str, folder: Path, cache: Path) -> TaskConfig:
        """The keys of the task file to replace for the harness: those that locate the data.

        ``folder`` has the data files. ``cache``: where local files are converted to, so that a changed file of the same
        name is never read from the copy of an earlier run.
        """
        if self.from_hub(source):
            hub = dict(self.metadata.get("hub", {}))
            return {"dataset_kwargs": None, **hub} if hub else {}
        kwargs = dict(self.config["dataset_kwargs"])
        return {
            "dataset_kwargs": {**kwargs, "data_files": _absolute(kwargs["data_files"], folder), "cache_dir": str(cache)}
        }

    def _data_files(self) -> Any:
        return (self.config.get("dataset_kwargs") or {}).get("data_files")


def harness_version() -> str:
    """The version of lm-evaluation-harness, read without importing it. Raises ParamsError if it is not installed."""
    try:
        return metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        raise ParamsError(
            f"{_TASKS} names zero-shot tasks, which need lm-evaluation-harness: install lm_eval[hf] 0.4.13 or "
            "later, or set evaluate.tasks: []"
        ) from None


def built_in_tasks() -> list[str]:
    """The names of the built-in tasks."""
    return sorted(path.stem for path in _FILES.glob("[!_]*.yaml"))


def find_task(name: str) -> TaskFile:
    """A built-in task by name, or a task file by path. Raises ParamsError naming evaluate.tasks."""
    path = Path(expand(name))
    if name in built_in_tasks():
        path = _FILES / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise ParamsError(
            f"{_TASKS}: there is no task {name!r}; the built-in ones are {', '.join(built_in_tasks())}; name your own "
            "task file by its path, which ends in .yaml"
        )
    elif not path.is_file():
        raise ParamsError(f"{_TASKS}: {name}: no such file")
    config = read_task_config(path)
    if not isinstance(config.get("task"), str):
        raise ParamsError(f"{path}: key task: expected the task's name, found {config.get('task')!r}")
    metadata = _metadata(config)
    return TaskFile(
        path=path.resolve(),
        built_in=path.parent == _FILES,
        config=config,
        chance=_typed(metadata, "chance", int | float, path, "a number"),
        language=_typed(metadata, "language", str, path, "text in quotes"),
        version=_typed(metadata, "version", int | float | str, path, "a number or text"),
    )


def _metadata(config: TaskConfig) -> Mapping[str, Any]:
    found = config.get("metadata")
    return found if isinstance(found, dict) else {}


def _typed(metadata: Mapping[str, Any], key: str, kind: Any, path: Path, expected: str) -> Any:
    """A metadata value, or None. Booleans are refused: YAML reads the unquoted language ``no`` as false."""
    value = metadata.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
        raise ParamsError(f"{path}: key metadata.{key}: found {value!r}, expected {expected}")
    return value


def find_data_folder(task: TaskFile, data_folder: str | None, samples: Mapping[str, Path]) -> Path:
    """The folder with a task's data files. ``samples``: language → folder with the sample corpus's questions.

    Raises ParamsError if the params name none.
    """
    language = task.language
    if task.uses_sample_corpus:
        if language not in samples:
            raise ParamsError(
                f"{_TASKS}: {task.name} asks about the sample corpus, and corpus.sources.{language} has no "
                "source of kind sample, or the language is not trained on; leave the task out"
            )
        return samples[str(language)]
    if not task.built_in:
        return task.path.parent
    if data_folder is None:
        raise ParamsError(
            f"{_DATA}: is null, but {task.name} reads {', '.join(task.files())}; name the folder that has it"
        )
    return Path(expand(data_folder))


def describe_tasks(
    names: Sequence[str],
    data_folder: str | None,
    source: str,
    samples: Mapping[str, Path],
    digest: Callable[[Path], str],
) -> list[TaskSpec]:
    """The entries of a tasks spec, with hashes of the task files and their data; ``digest`` hashes a file.

    Questions about the sample corpus have no hash, since they are generated later. Raises ParamsError or DataError,
    also if tasks are requested and the harness is not installed.
    """
    if names:
        harness_version()
    tasks: list[TaskSpec] = []
    for name in names:
        task = find_task(name)
        if task.name in [other.name for other in tasks]:
            raise ParamsError(f"{_TASKS}: two tasks are called {task.name}; rename one in its task file")
        tasks.append(
            TaskSpec(
                name=task.name,
                file=None if task.built_in else name,
                sample=task.language if task.uses_sample_corpus else None,
                config=fingerprint(task.config),
                data=_data_digests(task, data_folder, source, samples, digest),
            )
        )
    return tasks


def hash_data_files(task: TaskFile, folder: Path, digest: Callable[[Path], str] = file_digest) -> dict[str, str]:
    """Data file → hash. Raises DataError naming a file that is missing, and the params key."""
    return {name: digest(_existing(task, folder / name)) for name in task.files()}


def _data_digests(
    task: TaskFile, data_folder: str | None, source: str, samples: Mapping[str, Path], digest: Callable[[Path], str]
) -> dict[str, str]:
    if task.from_hub(source):
        return {}
    _check_local(task)
    folder = find_data_folder(task, data_folder, samples)
    return {} if task.uses_sample_corpus else hash_data_files(task, folder, digest)


def _check_local(task: TaskFile) -> None:
    if task.config.get("dataset_path") not in _FORMATS:
        raise ParamsError(
            f"{task.path}: dataset_path is {task.config.get('dataset_path')!r}, which is not on this machine; set "
            f"evaluate.task_source: hub, or dataset_path to one of {', '.join(_FORMATS)} with dataset_kwargs.data_files"
        )
    kwargs = task.config.get("dataset_kwargs")
    data_files = kwargs.get("data_files") if isinstance(kwargs, Mapping) else None
    key = f"{task.path}: key dataset_kwargs.data_files"
    if not _are_names(data_files) or not task.files():
        raise ParamsError(
            f"{key}: found {data_files!r}, expected the names of the data files, one by one, by split or in a list, "
            "relative to the task file; data_dir is not supported"
        )
    for name in task.files():
        if Path(name).is_absolute():
            raise ParamsError(f"{key}: {name} is absolute; name the file relative to the task file")


def _are_names(data_files: Any) -> bool:
    if isinstance(data_files, Mapping):
        return all(isinstance(files, str | list) and _are_names(files) for files in data_files.values())
    return isinstance(data_files, str) or (
        isinstance(data_files, list) and all(isinstance(name, str) for name in data_files)
    )


def _existing(task: TaskFile, path: Path) -> Path:
    if path.is_file():
        return path
    if task.uses_sample_corpus:
        raise DataError(f"{path}: no such file; run the raw stage again")
    if task.built_in:
        raise DataError(
            f"{_DATA}: {path.parent} has no file {path.name}, which task {task.name} reads; add it, "
            "name another folder, or leave the task out of evaluate.tasks"
        )
    raise DataError(f"{path}: no such file; {task.path} names it, relative to its own folder")


def _file_names(data_files: Any) -> Sequence[str]:
    if isinstance(data_files, str):
        return [data_files]
    parts = data_files.values() if isinstance(data_files, Mapping) else data_files or []
    return [name for part in parts for name in _file_names(part)]


def _absolute(data_files: Any, folder: Path) -> Any:
    if isinstance(data_files, str):
        return str((folder / data_files).absolute())
    if isinstance(data_files, Mapping):
        return {split: _absolute(files, folder) for split, files in data_files.items()}
    return [_absolute(files, folder) for files in data_files]
