"""What a person is told of a long command."""

from __future__ import annotations

import pytest

from predictors.runtime import progress
from predictors.runtime.progress import ProgressLine


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock's own, to be turned by hand."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def said(
    steps: list[tuple[float, int]], seconds: list[float], capsys: pytest.CaptureFixture[str]
) -> list[str]:
    line = ProgressLine("training")
    for passed, step in steps:
        seconds[0] += passed
        line("epoch", step, 1000)
    return capsys.readouterr().err.splitlines()


def test_rate_and_time_left(seconds: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    lines = said([(0, 0), (10, 100)], seconds, capsys)
    assert lines == ["training: epoch", "training: epoch, step 100/1000, 10.0/s, 90 s left"]


def test_what_was_done_before_a_resume_is_not_counted(
    seconds: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step it hears of is the 901st: nothing is known of how long those before it took."""
    lines = said([(0, 901), (10, 911)], seconds, capsys)
    assert lines == [
        "training: epoch, step 901/1000",
        "training: epoch, step 911/1000, 1.0/s, 89 s left",
    ]
