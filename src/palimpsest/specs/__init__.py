"""The full configuration of each stage, as frozen dataclasses that travel as JSON files.

A spec holds everything that determines a stage's output except the contents of its input folders. Its fingerprint
(codec.spec_fingerprint) decides whether a finished output is up to date. ``revision`` is part of it and is raised when
the meaning of a stage's output changes, since no tool sees a change of code behind a command line. Specs are built in
palimpsest.experiment.
"""
