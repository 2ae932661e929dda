"""Stops held back: none is lost, none is heard early, and the handlers of before are there again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from predictors.runtime.stopping import held_back

STOPS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What the process's own handlers hear."""
    numbers: list[int] = []
    before = {number: signal.signal(number, lambda number, _: numbers.append(number)) for number in STOPS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_is_heard_once_the_block_is_over(heard: list[int], number: int) -> None:
    handlers = [signal.getsignal(stop) for stop in STOPS]
    with held_back():
        signal.raise_signal(number)
        assert heard == []
    assert heard == [number]
    assert [signal.getsignal(stop) for stop in STOPS] == handlers


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_is_heard_when_the_block_fails_too(heard: list[int], number: int) -> None:
    def write() -> None:
        with held_back():
            signal.raise_signal(number)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert heard == [number]


def test_every_stop_is_heard_and_not_the_first_alone(heard: list[int]) -> None:
    """A shell's background job ignores SIGINT; SIGTERM still ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_back():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize(("first", "other"), [STOPS, STOPS[::-1]])
@pytest.mark.parametrize("changes", range(1, 5))
def test_no_moment_at_which_a_stop_comes_leaves_the_other_unheard(
    heard: list[int], monkeypatch: pytest.MonkeyPatch, first: int, other: int, changes: int
) -> None:
    """``changes``: of handlers, after which it comes: two at the beginning, two at the end."""
    signal.signal(first, signal.default_int_handler)
    done: list[int] = []
    change: Callable[..., Any] = signal.signal

    def changed(number: int, handler: Any) -> Any:
        before = change(number, handler)
        done.append(number)
        if len(done) == changes:
            signal.raise_signal(first)
        return before

    def write() -> None:
        with held_back():
            pass

    with monkeypatch.context() as patched:
        patched.setattr(signal, "signal", changed)
        with pytest.raises(KeyboardInterrupt):
            write()
    signal.raise_signal(other)
    assert heard == [other]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(first)


def test_in_another_thread_nothing_is_held_back() -> None:
    handlers = [signal.getsignal(stop) for stop in STOPS]
    within: list[object] = []

    def write() -> None:
        with held_back():
            within.extend(signal.getsignal(stop) for stop in STOPS)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert within == handlers
