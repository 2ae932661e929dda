"""Who has how many streams open: asked before each one opens, told when it has ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config

#: A stream that must have been cut by now and of whose end nothing was heard is forgotten.
SLACK_SECONDS = 5.0

Caller = tuple[str, str]
"""Issuer and subject: a subject is one person to its issuer alone."""


@dataclass(frozen=True)
class Cap:
    streams: int
    longest: float
    """Seconds after which Envoy cuts a stream of this model."""


def caps(config: Config) -> dict[str, Cap]:
    found: dict[str, Cap] = {}
    for name, model in config.models.items():
        if streams := config.per_caller(name).streams:
            found[name] = Cap(streams, model.timeouts.stream)
    return found


class OpenStreams:
    def __init__(self, caps: Mapping[str, Cap], clock: Callable[[], float] = time.monotonic) -> None:
        self._caps = caps
        self._clock = clock
        self._open: dict[str, tuple[str, Caller, float]] = {}
        """By request id; the float is when it is forgotten. In the order of opening."""
        self._count: Counter[tuple[str, Caller]] = Counter()

    def opens(self, model: str, caller: Caller, request_id: str) -> bool:
        """Counts the stream and says whether it may open."""
        self._forget_overdue()
        cap = self._caps[model]
        if self._count[model, caller] >= cap.streams:
            return False
        self._count[model, caller] += 1
        self._open[request_id] = (model, caller, self._clock() + cap.longest + SLACK_SECONDS)
        return True

    def ended(self, request_id: str) -> None:
        """One that was refused was never counted, and its end is nothing."""
        if (entry := self._open.pop(request_id, None)) is None:
            return
        model, caller, _ = entry
        self._count[model, caller] -= 1
        if not self._count[model, caller]:
            del self._count[model, caller]

    def open(self, model: str, caller: Caller) -> int:
        return self._count.get((model, caller), 0)

    def _forget_overdue(self) -> None:
        now = self._clock()
        for request_id in [r for r, (_, _, until) in self._open.items() if until <= now]:
            self.ended(request_id)


class Ends:
    """Reads the pipe into which Envoy writes the request id of each stream that is over."""

    def __init__(self, pipe: Path, streams: OpenStreams) -> None:
        self._pipe, self._streams = pipe, streams
        self._rest = b""
        os.mkfifo(pipe, 0o600)
        # Also open for writing, so that it never reads as ended while Envoy is not there yet.
        self._descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)

    def listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        *lines, self._rest = (self._rest + os.read(self._descriptor, 1 << 16)).split(b"\n")
        for line in lines:
            self._streams.ended(line.decode("latin-1"))
