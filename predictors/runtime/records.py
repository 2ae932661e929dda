"""What is kept of every request, whatever its transport: its place in the metrics, and one log line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Mapping

import orjson

from predictors.runtime.metrics import METHODS, Metrics

logger = logging.getLogger("quintet.request")


class Records:
    """To be used from one event loop only: the lines of one turn of it are one write."""

    def __init__(self, metrics: Metrics) -> None:
        self._observe = metrics.requests.observe
        self._lines: list[bytes] = []
        self._second, self._stamp = 0, ""

    def add(
        self,
        identifier: str,
        *,
        route: str,
        transport: str,
        method: str,
        code: int | str,
        seconds: float,
        timings: Mapping[str, float],
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        """``timings``: seconds by stage; ``route``: a template, as it becomes a label."""
        if method not in METHODS:
            method = "other"
        self._observe(route, transport, method, code, seconds)
        if not logger.isEnabledFor(logging.INFO):
            return
        line: dict[str, object] = {
            "time": self._now(),
            "level": "INFO",
            "logger": logger.name,
            "message": "request",
            "request_id": identifier,
            "route": route,
            "transport": transport,
            "method": method,
            "code": code,
            "request_bytes": request_bytes,
            "response_bytes": response_bytes,
            "seconds": int(seconds * 1e6) / 1e6,
        }
        for stage, value in timings.items():
            line[stage] = int(value * 1e6) / 1e6
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}+00:00"

    def _write(self) -> None:
        text = b"".join(self._lines).decode()
        self._lines.clear()
        with contextlib.suppress(OSError, ValueError):  # stderr is gone: not a reason to fail a request
            sys.stderr.write(text)
