"""The project's text uses the field's terms (docs/glossary.md), not the private English that they replaced."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEARCHED = (
    "src", "workflow", "docs", "README.md", "CONTRIBUTING.md", "Snakefile", "dvc.yaml", "params.yaml", "examples",
    "profiles", "Makefile", "benchmarks",
)  # fmt: skip
NOT_SEARCHED = (
    "src/palimpsest/raw/sample/",  # stories
    "src/palimpsest/evaluate/task_files/",  # questions
)
TEXT = {"", ".md", ".py", ".smk", ".yaml", ".sh", ".html", ".css", ".js", ".j2"}

# Replaced words → what to write in their place. Upper and lower case are the same here.
PHRASES = {
    r"\banew\b": "again, from scratch",
    r"\bsaid twice\b": "duplicate",
    r"\bdamage(d|s)?\b": "corrupt",
    r"\bstands? for itself\b": "is used alone",
    r"\b(goes|go|going|gone|went) on (from|after|with)\b|\bcan(not)? go on\b": "resumes from, continues",
    r"\btold of\b": "logged, reported",
    r"\b(what|hash|file|fingerprint|weight|one|many|they) (is |was |are |were )?asked for\b": "requested",
    r"\bwhat \w+( \w+)? (is|are) (asked|told)\b|\btold to do\b": "an indicative sentence that says what the thing is",
    r"\bdealt\b": "owned_rows",
    r"\bchances\b": "probs",
    r"\bslopes?\b": "grad_logits; exponent",
    r'\b(no|on|of|each|one|every|the|a) card\b(?! (number|that))|(?<!model )\bcards\b(?!"| with)': "GPU, device",
    r"\blaws? of size\b": "scaling law",
    r"\btall(y|ies)\b": "statistics, counters",
    r"\bshortcuts?\b": "fast_filters, speed-up",
    r"\bpolite\b|\bgiven up\b|\bof late\b|\bin vain\b|\blets? go\b": "plain words",
    r"\bmend(s|ed)?\b": "fix",
}
# Replaced names, as they were spelt.
NAMES = {
    r"\b(Ranks|Meeting|Patience|PassingError|Network|Guard)\b(?=[(:,\]]| \|)": (
        "ProcessGroup, Backoff, TransientError, TrainingModel, SpikeGuard"
    ),
    r"\ball_or_none\b|\.agreed\b": "fail_together, broadcast",
}


@cache
def lines() -> list[tuple[str, str]]:
    """Position and text of every line of the searched files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *SEARCHED]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [
        (f"{name}:{number}", line)
        for name in listed
        if Path(name).suffix in TEXT and not name.startswith(NOT_SEARCHED) and (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1)
    ]


def found(expression: str, flags: re.RegexFlag = re.NOFLAG) -> str:
    pattern = re.compile(expression, flags)
    return "\n".join(f"{position}: {line.strip()[:120]}" for position, line in lines() if pattern.search(line))


def test_files_are_searched() -> None:
    assert len(lines()) > 10_000


@pytest.mark.parametrize("expression", PHRASES)
def test_replaced_words_are_not_used(expression: str) -> None:
    assert not found(expression, re.IGNORECASE), PHRASES[expression]


@pytest.mark.parametrize("expression", NAMES)
def test_replaced_names_are_not_used(expression: str) -> None:
    assert not found(expression), NAMES[expression]
