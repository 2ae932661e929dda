"""Stops that wait: SIGINT and SIGTERM held back while what must be whole is written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """What asks the process to stop meanwhile is heard at the end of the block, by the handlers of before.

    Only the main thread ever hears of signals; in others nothing is done. Blocking them (a signal mask) would
    not be enough: the kernel gives them to a thread of some library, and Python hears of them all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _STOPS}
    heard: list[int] = []
    over = False

    def hear(number: int, _: object) -> None:
        if over:  # a handler of before has raised while this one was being taken away
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)
        else:
            heard.append(number)

    try:
        for number in _STOPS:
            signal.signal(number, hear)
        yield
    finally:
        over = True
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in heard:  # all of them: the first may be one that is ignored
            signal.raise_signal(number)
