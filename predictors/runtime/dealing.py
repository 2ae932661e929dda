"""Work dealt out to threads that each take whole pieces, instead of sharing every product.

A product shared by all threads waits for the slowest of them, hundreds of times in a forward pass; whoever
takes whole pieces waits once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")

_WORTH_DEALING = 0.7
"""Share of the threads' time that must be busy if each takes whole pieces."""


def worth_dealing(costs: Sequence[float], threads: int) -> bool:
    """Whether ``threads`` that take whole pieces, the dearest first, would mostly be busy."""
    loads = [0.0] * threads
    for cost in sorted(costs, reverse=True):
        loads[loads.index(min(loads))] += cost
    return threads > 1 and sum(costs) >= _WORTH_DEALING * threads * max(loads)


class Dealer:
    """A pool of ``threads`` that work pieces off, dearest first; ``start`` is called once in each."""

    def __init__(self, threads: int, name: str, start: Callable[[], None] | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=start)

    def deal(
        self, pieces: Sequence[Piece], costs: Sequence[float], work: Callable[[Piece], Outcome]
    ) -> list[Outcome]:
        """What ``work`` makes of each piece, in order. Raises what a piece raised, when all are through."""
        order = sorted(range(len(pieces)), key=lambda i: -costs[i])
        futures = {index: self._pool.submit(work, pieces[index]) for index in order}
        errors = [error for future in futures.values() if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [futures[index].result() for index in range(len(pieces))]
