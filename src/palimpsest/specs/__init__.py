"""The specs of the stages: frozen dataclasses that travel as JSON files.

A spec holds every input of a stage's output except the contents of its input folders. Its identity (codec.identity)
decides whether a finished output is up to date; ``revision`` is part of it and is raised when the output of a stage
changes its meaning, since no tool sees a change of code behind a command line. Specs are built in
palimpsest.experiment.build_specs.
"""
