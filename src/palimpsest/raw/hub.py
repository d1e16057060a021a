"""Documents of a Hugging Face dataset at a pinned revision, or of a local folder like it, by datatrove's readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.pipeline.readers import JsonlReader, ParquetReader

from palimpsest.errors import DataError


def documents(source: dict[str, Any]) -> Iterator[dict[str, str]]:
    """``{"id", "text"}`` in the order of file names; rows without text are passed over by the reader.

    A token for gated datasets comes from the environment (HF_TOKEN) alone.
    """
    dataset, files = source["dataset"], source["files"]
    reader = ParquetReader if files.endswith(".parquet") else JsonlReader
    local = Path(dataset).is_dir()
    folder = dataset if local else f"hf://datasets/{dataset}@{source['revision']}"
    options = {"read_metadata": False} if reader is ParquetReader else {}
    try:
        yield from (
            {"id": document.id, "text": document.text}
            for document in reader(
                folder,
                glob_pattern=files,
                text_key=source["text"],
                id_key=source["id"],
                limit=source["max_documents"] or -1,
                **options,
            ).run()
        )
    except Exception as error:  # of many libraries: the hub's HTTP client, fsspec, pyarrow, zstandard, datatrove
        problem = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{folder}: cannot read {files!r}: {problem}; check dataset, revision, files and text, and the network"
        ) from error
