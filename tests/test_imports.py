"""Data flows one way, and so do imports; what trains needs neither the workflow nor the data libraries."""

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "palimpsest"
ORDER = ["errors", "file_types", "hub", "progress", "artifact", "codec", "settings", "specs",
         "params", "raw", "corpus", "tokens", "replay",
         "model", "train", "evaluate", "report", "experiment", "plan", "cli"]  # fmt: skip
ONLY_IN = {
    "datatrove": {"corpus"},
    "lm_eval": {"evaluate"},
    "pydantic": {"params"},
    # Imported where a validator asks for a schema: settings themselves need no validator.
    "pydantic_core": {"settings"},
    "jinja2": {"report"},
    "altair": {"report"},
    "vl_convert": {"report"},
}
NO_TORCH = {
    "progress",
    "codec",
    "settings",
    "specs",
    "params",
    "experiment",
    "raw",
    "corpus",
    "tokens",
    "replay",
    "report",
}


def imports():
    """(stage, imported module) for every import statement of the package."""
    for path in SOURCE.rglob("*.py"):
        stage = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((stage, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                yield from ((stage, f"{node.module}.{alias.name}") for alias in node.names)


def test_no_stage_imports_a_later_one():
    for stage, module in imports():
        if stage != "__init__" and module.startswith("palimpsest."):
            imported = module.split(".")[1]
            assert ORDER.index(imported) <= ORDER.index(stage), f"{stage} imports {module}"


def test_libraries_stay_where_they_belong():
    for stage, module in imports():
        library = module.split(".")[0]
        assert stage in ONLY_IN.get(library, {stage}), f"{stage} imports {module}"
        assert library != "torch" or stage not in NO_TORCH, f"{stage} imports {module}"
        assert library not in ("pickle", "dill", "joblib"), f"{stage} imports {module}"


def test_training_needs_neither_workflow_nor_data_libraries():
    """As on a machine that has only torch, transformers, numpy, safetensors and PyYAML."""
    code = (
        "import sys\n"
        "for name in ('snakemake', 'dvc', 'datatrove', 'pydantic', 'orjson', 'zstandard', 'pyarrow', 'numba',\n"
        "             'fastokens', 'trafilatura'):\n"
        "    sys.modules[name] = None\n"
        "import palimpsest.train.trainer, palimpsest.evaluate.gather_results\n"
        "import palimpsest.replay.build_pool, palimpsest.cli\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
