"""Open-loop load: requests leave at their times whether or not the ones before have been answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Report:
    """What became of each request: its status, or the name of the fault."""

    outcomes: list[tuple[float, int | str]] = field(default_factory=list)
    """When it began, and how it ended."""

    @property
    def counts(self) -> Counter[int | str]:
        return Counter(outcome for _, outcome in self.outcomes)

    @property
    def failed(self) -> int:
        return sum(count for outcome, count in self.counts.items() if outcome != 200)

    @property
    def share(self) -> str:
        """Of those that failed."""
        return f"{self.failed} of {len(self.outcomes)}"

    def failures(self) -> list[float]:
        """When those that failed began."""
        return sorted(at for at, outcome in self.outcomes if outcome != 200)

    def begun(self, since: float, until: float) -> int:
        """How many began in that time."""
        return sum(since <= at <= until for at, _ in self.outcomes)

    @property
    def longest_outage(self) -> float:
        """Seconds from a failure to the next answer, or to the last call where there is none."""
        longest, begin = 0.0, None
        for at, outcome in sorted(self.outcomes, key=lambda one: one[0]):
            if begin is None and outcome != 200:
                begin = at
            if begin is not None:
                longest = max(longest, at - begin)
            if outcome == 200:
                begin = None
        return longest


class Traffic:
    """``with Traffic(...) as traffic:`` runs it beside what the block does; then ``traffic.report``.

    A connection is kept and leads to one gateway; ``spread``: each request has its own, to any of them.
    """

    def __init__(
        self,
        address: str,
        path: str,
        body: dict[str, Any],
        token: str,
        rate: float = 10.0,
        spread: bool = False,
    ) -> None:
        self._url, self._body, self._rate = address + path, body, rate
        self._headers = {"authorization": f"Bearer {token}"}
        self._kept = 0 if spread else None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic")
        self.report = Report()

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=500, max_keepalive_connections=self._kept)
        client = httpx.AsyncClient(headers=self._headers, timeout=60, limits=limits)
        async with client, asyncio.TaskGroup() as group:
            due = time.monotonic()
            while not self._stop.is_set():
                group.create_task(self._one(client))
                due += 1 / self._rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _one(self, client: httpx.AsyncClient) -> None:
        begin = time.monotonic()
        try:
            outcome: int | str = (await client.post(self._url, json=self._body)).status_code
        except httpx.HTTPError as fault:
            outcome = type(fault).__name__
        self.report.outcomes.append((begin, outcome))
