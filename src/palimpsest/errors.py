"""The errors that a user can meet. A message says what was found, what was expected, and the remedy."""


class PalimpsestError(Exception):
    """Base of every error that the command line shows as one line, without a traceback."""


class ParamsError(PalimpsestError):
    """A key or value in params.yaml is not allowed."""


class DataError(PalimpsestError):
    """A source or corpus file cannot be read, or has no usable contents."""


class ArtifactError(PalimpsestError):
    """A folder that a stage should have written is missing, incomplete or of another format."""


class PlanError(PalimpsestError):
    """The experiment in params.yaml does not fit this machine: too little disk, or too few accelerators."""


class TrainingError(PalimpsestError):
    """Training cannot continue: the loss is not finite, or a checkpoint does not belong to this run."""
