"""How far a long command is, with rate and time left, for a person at a terminal or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Report = Callable[[str, int, int], None]
"""Hears what is being done, the step that is done, and of how many."""


class ProgressLine:
    """One line, rewritten in place on a terminal and repeated every few seconds elsewhere."""

    def __init__(self, name: str) -> None:
        """``name`` stands before everything that is said."""
        self._name = name
        self._terminal = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._what = ""
        self._first = 0
        self._shown = float("-inf")

    def __call__(self, what: str, step: int, steps: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._begun, self._first = what, now, step  # a resumed run begins in the middle
            self._shown = float("-inf")
        if now - self._shown < (0.2 if self._terminal else 5) and step < steps:
            return
        self._shown = now
        spent = now - self._begun
        text = f"{self._name}: {what}"
        if steps > 1 and step:
            text += f", step {step}/{steps}"
            if spent and step > self._first:
                rate = (step - self._first) / spent
                text += f", {rate:.1f}/s, {(steps - step) / rate:.0f} s left"
        sys.stderr.write(f"\r\033[K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\033[K")
