"""The measured rate is that of the texts, whatever their size and however they come together."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from predictors.text_evaluator.jobs.rate import Rate


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("together", "seconds"), [(1, 6.0), (32, 6.0), (32, 0.5), (1, 0.01)], ids=str)
def test_texts_a_second(together: int, seconds: float) -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.per_second == 0
    for _ in range(20):
        with ExitStack() as batch:
            for _ in range(together):
                batch.enter_context(rate.running())
            clock.now += seconds
        assert rate.per_second == pytest.approx(together / seconds, rel=0.13)  # a batch of the window


def test_idle_time_is_nobodys_and_what_was_taken_away_is_no_text() -> None:
    clock = Clock()
    rate = Rate(clock)
    for pause in (0.0, 3.0, 500.0):
        clock.now += pause
        with suppress(KeyError), rate.running():
            with rate.running():
                clock.now += 1
            raise KeyError
    assert rate.per_second == pytest.approx(1.0)
