"""Turns: callers among each other, and a caller's jobs among each other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from predictors.text_evaluator.jobs.fairness import FairQueue

JOBS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 12)), min_size=1, max_size=8)


def filled(jobs: list[tuple[str, int]]) -> FairQueue[tuple[int, int]]:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    for job, (owner, size) in enumerate(jobs):
        queue.add(owner, str(job), [(job, place) for place in range(size)])
    return queue


@given(JOBS)
def test_everything_comes_once_and_a_job_in_its_order(jobs: list[tuple[str, int]]) -> None:
    queue = filled(jobs)
    taken = [queue.take() for _ in range(len(queue))]
    assert sorted(taken) == [(job, place) for job, (_, size) in enumerate(jobs) for place in range(size)]
    for job in range(len(jobs)):
        assert [place for of, place in taken if of == job] == sorted(
            place for of, place in taken if of == job
        )
    with pytest.raises(IndexError):
        queue.take()


@given(JOBS)
def test_between_two_turns_of_a_caller_every_other_has_one(jobs: list[tuple[str, int]]) -> None:
    queue = filled(jobs)
    taken = [jobs[queue.take()[0]][0] for _ in range(len(queue))]
    last = {owner: max(place for place, who in enumerate(taken) if who == owner) for owner in taken}
    for owner in last:
        places = [place for place, who in enumerate(taken) if who == owner]
        for first, second in pairwise(places):
            between = taken[first + 1 : second]
            assert sorted(between) == sorted(who for who in last if who != owner and last[who] > first)


@given(st.integers(100, 2000), st.integers(1, 9), st.integers(0, 50))
def test_a_small_job_behind_a_large_one_waits_for_turns_alone(large: int, small: int, ahead: int) -> None:
    queue = filled([("a", large)])
    for _ in range(min(ahead, large - 1)):
        queue.take()
    queue.add("a", "small", [(1, place) for place in range(small)])
    turns = 0
    left = small
    while left:
        turns += 1
        left -= queue.take()[0] == 1
    assert turns <= 2 * small


class Turns(RuleBasedStateMachine):
    """Any order of adding, taking and removing loses nothing and gives nothing back that was removed."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[tuple[str, int]] = FairQueue()
        self.waiting: dict[str, list[int]] = {}
        self.number = 0

    @rule(owner=st.sampled_from("ab"), size=st.integers(0, 4))
    def add(self, owner: str, size: int) -> None:
        self.number += 1
        job = f"{owner}{self.number}"
        self.queue.add(owner, job, [(job, place) for place in range(size)])
        if size:
            self.waiting[job] = list(range(size))

    @rule()
    def take(self) -> None:
        if self.waiting:
            job, place = self.queue.take()
            assert self.waiting[job].pop(0) == place
            if not self.waiting[job]:
                del self.waiting[job]

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([*self.waiting, "unknown"]))
        assert [place for _, place in self.queue.remove(job)] == self.waiting.pop(job, [])

    @invariant()
    def counts(self) -> None:
        assert len(self.queue) == sum(map(len, self.waiting.values()))


TestTurns = Turns.TestCase
