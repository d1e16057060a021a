# The params, validated once, and the functions that the rules share.
import shlex
import shutil
import sys

from snakemake.exceptions import WorkflowError

from palimpsest.errors import PalimpsestError
from palimpsest.experiment.experiment import Experiment
from palimpsest.experiment.lineage import checkpoints
from palimpsest.experiment.spec_files import write_spec
from palimpsest.params import read
from palimpsest.plan.job_memory import evaluation_mb, tasks_mb, training_mb
from palimpsest.specs.evaluation import REPORT_REVISION, SCALING_REVISION

# Jobs run the `palimpsest` command of this Python, whether or not its environment is active.
# A prefix replaces Snakemake's strict mode, without which `tee` would hide that a stage failed.
# A cluster sends its signals to all processes of a job: the shell and `tee` wait until the stage has saved a checkpoint.
shell.prefix(
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    "trap : INT TERM USR1; keep() ( trap '' INT TERM USR1; exec tee \"$1\" ); "
)

# GPUs that a job of one process requests (resource `gpu`).
GPU = 1 if shutil.which("nvidia-smi") else 0

CONFIG_FILES = [str(path) for path in workflow.config_settings.configfiles]

# Before Snakemake reads it, which takes the last of duplicate keys and has no bounds.
try:
    for file in CONFIG_FILES or ["params.yaml"]:
        read(Path(file))
except PalimpsestError as error:
    raise WorkflowError(str(error)) from None


# A file given by --configfile is used alone: params.yaml would show through where it has no value.
if not CONFIG_FILES:

    configfile: "params.yaml"


try:
    EXPERIMENT = Experiment(
        config,
        Path(".snakemake/inventory.json"),
        " + ".join(CONFIG_FILES) or "params.yaml",
    )
except PalimpsestError as error:
    raise WorkflowError(str(error)) from None


def each_language(pattern):
    """``pattern`` filled in for every language that is trained on."""
    return expand(pattern, language=EXPERIMENT.params.languages)


def each_checkpoint(pattern, *experiments):
    """``pattern`` filled in for every checkpoint of some arms, each once."""
    paths = dict.fromkeys(
        lineage.path for arms in experiments for lineage in checkpoints(arms)
    )
    return expand(pattern, lineage=paths)


def lineage_of(wildcards):
    """The lineage of a path; raises for one that is not among the lineages of the params."""
    if wildcards.lineage not in EXPERIMENT.lineages:
        raise WorkflowError(f"runs/{wildcards.lineage}: not a lineage of these params")
    return EXPERIMENT.lineages[wildcards.lineage]


def processes_of(wildcards):
    """Number of processes that share a training run."""
    return lineage_of(wildcards).training.train.processes


def memory(estimate, manifest, *settings):
    """Memory in MB of a job that reads the model of a manifest; Snakemake evaluates it again once that exists."""
    try:
        return estimate(Path(manifest).parent, GPU > 0, *settings)
    except PalimpsestError as error:
        raise WorkflowError(str(error)) from None


def launch(wildcards):
    """The command, under torchrun where there are several processes."""
    processes = processes_of(wildcards)
    if processes == 1:
        return "palimpsest"
    # torchrun forwards SIGUSR1 only on request, and a checkpoint may take longer than its default of 30 seconds;
    # after ten minutes it ends a process that waits for one that failed.
    return (
        "env PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 PET_SHUTDOWN_TIMEOUT=600 "
        f"python -m torch.distributed.run --standalone --nproc-per-node {processes} -m palimpsest.cli"
    )


# Where the specs of jobs are written, when Snakemake evaluates their params.
SPECS = Path(".snakemake/specs")


def spec(stage, build):
    """The name of the file with what ``build`` says of the wildcards; it changes with whatever shapes the output."""
    return lambda wildcards: write_spec(stage, build(wildcards), SPECS)


onstart:
    # DVC requires every output in dvc.yaml to exist, also where nothing is replayed and no tasks are run.
    for folder in ("data/replay", "results/tasks"):
        Path(folder).mkdir(parents=True, exist_ok=True)


wildcard_constraints:
    language=r"[a-z]{2}",
    root=r"[^/]+",
