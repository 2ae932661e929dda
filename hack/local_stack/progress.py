"""What a person sees while waiting: on a terminal one line that moves, elsewhere a line a step."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

REPEAT_SECONDS = 15.0
"""In a log, how often to say a step again of which only the count moves."""

_COUNTS = re.compile(r"[\d.]+")


@dataclass(frozen=True)
class _Said:
    kind: str
    at: float


class Progress:
    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._moving = self._stream.isatty()
        self._said: dict[str, _Said] = {}
        self._line: dict[str, str] = {}

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=self._stream, flush=True)
        self._draw()

    def update(self, name: str, doing: str, seconds: float, usual: float | None) -> None:
        """What one process is doing now, for how long, and how long it took the last time."""
        expected = f" of about {usual:.0f} s" if usual else " s"
        self._line[name] = f"{name}: {doing} ({seconds:.0f}{expected})"
        if self._moving:
            self._clear()
            self._draw()
        else:
            kind, last = _COUNTS.sub("", doing), self._said.get(name)
            if last is None or last.kind != kind or seconds - last.at >= REPEAT_SECONDS:
                self._said[name] = _Said(kind, seconds)
                print(f"  {name}: {doing}", file=self._stream, flush=True)

    def done(self, name: str, seconds: float) -> None:
        self.forget(name)
        self.say(f"  {name}: ready after {seconds:.1f} s")

    def forget(self, name: str) -> None:
        self._said.pop(name, None)
        self._line.pop(name, None)

    def finish(self) -> None:
        """Nothing is being waited for any more."""
        self._line.clear()
        self._clear()

    def _draw(self) -> None:
        if self._moving and self._line:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(("  " + " | ".join(self._line.values()))[:width])
            self._stream.flush()

    def _clear(self) -> None:
        if self._moving:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def doing(details: Mapping[str, object] | None) -> str:
    """A predictor's /health/detailed in a few words."""
    if details is None:
        return "starting the process"
    state, stage = details.get("state"), details.get("stage")
    return f"{state}: {stage}" if stage and stage != state else str(state)
