"""The shell commands of the rules: a path or wildcard with a space or quote in it must stay one word."""

from __future__ import annotations

import ast
import re
from string import Formatter

import pytest
from support.project import ROOT

UNQUOTED = {"threads", "params.launch"}  # a number, and a command of several words
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))


def shell_commands(text: str) -> list[str]:
    """The strings after ``shell:``."""
    blocks = re.findall(r"^    shell:\n((?:        .*\n|\n)+)", text, re.MULTILINE)
    assert len(blocks) == len(re.findall(r"^\s*shell\s*:", text, re.MULTILINE))
    return [ast.literal_eval(f"({block})") for block in blocks]


def placeholders(command: str) -> list[tuple[str, str]]:
    """(name, format) of everything that Snakemake fills in."""
    return [(name, spec or "") for _, name, spec, _ in Formatter().parse(command) if name is not None]


@pytest.mark.parametrize("path", [path for path in RULES if "shell:" in path.read_text()], ids=lambda path: path.stem)
def test_everything_that_is_filled_into_a_shell_command_is_quoted(path) -> None:
    commands = shell_commands(path.read_text())
    found = [place for command in commands for place in placeholders(command)]
    assert {name.split(".")[0].split("[")[0] for name, _ in found} >= {"wildcards", "params", "log"}
    assert [name for name, spec in found if spec != "q" and name not in UNQUOTED] == []


def test_the_rules_with_shell_commands_are_found() -> None:
    assert sum(len(shell_commands(path.read_text())) for path in RULES) >= 13
    assert placeholders("cp {input:q} {output} {threads}") == [("input", "q"), ("output", ""), ("threads", "")]
