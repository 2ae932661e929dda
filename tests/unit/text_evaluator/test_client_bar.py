"""What who waits is shown."""

from __future__ import annotations

import io

from rich.console import Console

from predictors.text_evaluator.client.bar import Bar
from predictors.text_evaluator.jobs.model import Job, State, progress

JOB = Job("j", "ada", State.PROCESSING, total=2000, done=500, failed=0, created=0.0, worked=1000.0)


def shown(*, terminal: bool) -> tuple[io.StringIO, Bar]:
    said = io.StringIO()
    return said, Bar(2000, Console(file=said, force_terminal=terminal, width=120, color_system=None))


def test_texts_done_how_many_a_second_and_the_time_left() -> None:
    said, bar = shown(terminal=True)
    with bar:
        bar.show(progress(JOB))
    last = said.getvalue().rstrip().rsplit("\r", 1)[-1]
    assert "marking" in last
    assert "500/2000 0.5/s 0:50:00 left" in last


def test_a_wait_is_shown_with_what_is_left_of_the_patience_and_ends() -> None:
    said, bar = shown(terminal=True)
    with bar:
        bar.wait("The service was not reached (ConnectError).", 900.0)
        bar.wait("The service was not reached (ConnectError).", 885.0)
        assert said.getvalue().count("Waiting for it, 0:15:00 at most.") == 1
        bar._progress.refresh()
        assert "waiting, 0:14:45 more" in said.getvalue()
        bar.show(progress(JOB))
    assert "marking" in said.getvalue().rstrip().rsplit("\r", 1)[-1]


def test_a_wait_is_said_once_where_there_is_no_terminal() -> None:
    said, bar = shown(terminal=False)
    with bar:
        for left in (900.0, 899.0):
            bar.wait("The service answered 503.", left)
    assert said.getvalue().count("The service answered 503. Waiting for it, 0:15:00 at most.") == 1
