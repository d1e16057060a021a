"""Progress on a clock that the test sets: lines whose numbers are worked out by hand, and a bar on a terminal."""

import logging
import sys

import pytest

from palimpsest.progress import BAR_INTERVAL_S, LINE_INTERVAL_S, Progress, byte_size, duration


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_line_gives_position_rate_note_and_time_left(clock: Clock) -> None:
    progress = Progress("train", total=40, unit="steps", start=10, clock=clock, terminal=False)
    clock.now += 4
    progress.update(30, lambda: f"loss 2.500, {progress.rate * 64:.0f} tokens/s")
    assert progress.line() == "train: 30 of 40 steps, 5.00 steps/s, loss 2.500, 320 tokens/s, 2 s left"


def test_bytes_of_unknown_total(clock: Clock) -> None:
    progress = Progress("a.parquet", total=None, unit="bytes", clock=clock, terminal=False)
    clock.now += 10
    progress.update(25_000_000)
    assert progress.line() == "a.parquet: 25.0 MB, 2.5 MB/s"


def test_what_an_earlier_run_did_does_not_count_as_speed(clock: Clock) -> None:
    progress = Progress("de", total=1_000_000, unit="bytes", start=None, clock=clock, terminal=False)
    progress.update(400_000)
    assert progress.line() == "de: 400.0 kB of 1.0 MB"
    clock.now += 2
    progress.update(600_000)
    assert progress.line() == "de: 600.0 kB of 1.0 MB, 100.0 kB/s, 4 s left"


def test_a_log_gets_a_line_every_few_seconds_and_one_at_the_end(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "palimpsest")
    with Progress("train", total=100, unit="steps", clock=clock, terminal=False) as progress:
        for step in range(1, 101):
            clock.now += LINE_INTERVAL_S / 40
            progress.update(step)
    positions = [line.partition(" of ")[0] for line in caplog.messages]
    assert positions == ["train: 40", "train: 80", "train: 100"]


def test_the_last_update_is_not_shown_twice(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "palimpsest")
    with Progress("train", total=2, unit="steps", clock=clock, terminal=False) as progress:
        clock.now += LINE_INTERVAL_S
        progress.update(2)
    assert len(caplog.messages) == 1


def test_nothing_done_shows_nothing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "palimpsest")
    with Progress("train", total=2, unit="steps", clock=clock, terminal=False):
        clock.now += LINE_INTERVAL_S
    assert caplog.messages == []


def test_a_note_is_made_only_when_it_is_shown(clock: Clock) -> None:
    calls: list[str] = []

    def note() -> str:
        calls.append("note")
        return "a note"

    progress = Progress("train", total=9, unit="steps", clock=clock, terminal=False)
    progress.update(1, note)
    assert calls == []
    clock.now += LINE_INTERVAL_S
    progress.update(2, note)
    assert calls == ["note"]


def test_a_terminal_gets_a_bar_that_log_lines_do_not_break(
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "palimpsest")
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler(sys.stderr)])
    with Progress("train", total=40, unit="steps", start=10, clock=clock, terminal=True) as progress:
        clock.now += BAR_INTERVAL_S
        progress.update(30, "loss 2.500")
        logging.getLogger("palimpsest.elsewhere").info("a line of the log")
        progress.update(40, "loss 2.400")
    drawn = capsys.readouterr().err
    assert "train:  75%|" in drawn and "30/40" in drawn and "loss 2.500" in drawn
    assert "40/40" in drawn and "loss 2.400" in drawn
    assert any(line.endswith("a line of the log") for line in drawn.replace("\r", "\n").splitlines())


def test_a_silenced_logger_silences_the_bar(
    clock: Clock, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As in all but the first process of a training."""
    caplog.set_level(logging.WARNING, "palimpsest")
    with Progress("train", total=1, unit="steps", clock=clock, terminal=True) as progress:
        clock.now += LINE_INTERVAL_S
        progress.update(1)
    assert capsys.readouterr().err == "" and caplog.messages == []


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (4.2e15, "4.2 PB")]
)
def test_byte_sizes(size: float, text: str) -> None:
    assert byte_size(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(2.4, "2 s"), (119, "119 s"), (600, "10 min"), (36_000, "10.0 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
