"""Texts that end the engine, or that it never answers: they get their error, all others their marks."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from predictors.text_evaluator.evaluation import EngineLost, Evaluation, Outcome
from predictors.text_evaluator.jobs.model import State
from tests.support.jobs import Engine, Followed, indexes


class Mortal:
    """An engine that some texts end, with all that it has: or, ``hung``, that answers nobody after them."""

    def __init__(self, deadly: set[str], *, hung: bool = False) -> None:
        self._deadly, self._hung = deadly, hung
        self._dead, self.told = asyncio.Event(), asyncio.Event()
        self.begun: list[str] = []
        self.too_late: list[str] = []
        self.times_told = 0

    async def mark(self, fields: dict[str, str]) -> Outcome:
        text = fields["respuesta"]
        (self.too_late if self.told.is_set() else self.begun).append(text)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await self._dead.wait()
        if text in self._deadly:
            self._dead.set()
        if self._dead.is_set():
            if self._hung:
                await asyncio.Event().wait()
            raise EngineLost
        return Evaluation(3, text)

    def lost(self) -> None:
        self.times_told += 1
        self.told.set()


async def lives(
    followed: Followed, jobs: list[str], deadly: set[str], *, hung: bool = False, **settings: Any
) -> list[Mortal]:
    """Workers one after the other, each to the end of its engine, until all jobs have ended."""
    engines: list[Mortal] = []
    over: set[State] = {State.COMPLETED, State.FAILED}

    async def all_ended() -> None:
        for job_id in jobs:
            await followed.ended(job_id)

    while len(engines) < 9:
        engine = Mortal(deadly, hung=hung)
        engines.append(engine)
        async with followed.worker(engine.mark, on_lost=engine.lost, **settings):
            ends = [asyncio.create_task(end) for end in (engine.told.wait(), all_ended())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
        found = [await followed.store.get(job_id) for job_id in jobs]
        if all(job is not None and job.state in over for job in found):
            return engines
    raise AssertionError("engines were lost again and again")


async def check(followed: Followed, job_id: str, size: int, *deadly: int) -> None:
    rows = await followed.store.results(job_id, 0, 10_000)
    assert sorted(row["index"] for row in rows) == list(range(size))
    assert sorted((row["index"], row["code"]) for row in rows if row["state"] == "failed") == [
        (index, "engine") for index in deadly
    ]


def text(job_id: str, index: int) -> str:
    return f"{job_id[:4]} {index}"


async def test_a_text_that_ends_the_engine_costs_two_lives_and_nobody_else_a_mark(followed: Followed) -> None:
    deadly, other = await followed.post(40, "ada"), await followed.post(40, "bob")
    engines = await lives(followed, [deadly, other], {text(deadly, 5)})
    await check(followed, deadly, 40, 5)
    await check(followed, other, 40)
    assert len(engines) == 3, "two that it ended, and one after it"
    assert [engine.times_told for engine in engines] == [1, 1, 0]
    assert not any(engine.too_late for engine in engines)


async def test_texts_of_two_jobs_that_end_the_engine(followed: Followed) -> None:
    jobs = [await followed.post(12, owner) for owner in ("ada", "bob")]
    engines = await lives(followed, jobs, {text(jobs[0], 2), text(jobs[0], 3), text(jobs[1], 9)})
    await check(followed, jobs[0], 12, 2, 3)
    await check(followed, jobs[1], 12, 9)
    assert len(engines) <= 7


async def test_a_job_of_nothing_but_such_a_text_has_failed(followed: Followed) -> None:
    job_id = await followed.post(1)
    assert len(await lives(followed, [job_id], {text(job_id, 0)})) == 2
    job = await followed.store.get(job_id)
    assert job is not None
    assert job.state is State.FAILED


async def test_a_text_that_the_engine_never_answers_is_like_one_that_ends_it(followed: Followed) -> None:
    deadly, other = await followed.post(12, "ada"), await followed.post(12, "bob")
    jobs = [deadly, other]
    engines = await lives(followed, jobs, {text(deadly, 5)}, hung=True, engine_timeout=1.0)
    await check(followed, deadly, 12, 5)
    await check(followed, other, 12)
    assert [engine.times_told for engine in engines] == [1, 1, 0]


async def test_an_engine_that_answers_is_not_lost_however_long_a_text_waits_in_it(followed: Followed) -> None:
    place, lost = asyncio.Lock(), asyncio.Event()

    async def mark(fields: dict[str, str]) -> Outcome:
        async with place:
            await asyncio.sleep(0.15)
        return Evaluation(3, fields["respuesta"])

    job_id = await followed.post(10)
    async with followed.worker(mark, slots=10, engine_timeout=1.0, on_lost=lost.set):
        assert (await followed.ended(job_id)).failed == 0
    assert not lost.is_set()


async def test_a_time_out_of_the_engines_own_is_an_error_of_its_text(followed: Followed) -> None:
    async def mark(_: dict[str, str]) -> Outcome:
        raise TimeoutError

    lost = asyncio.Event()
    job_id = await followed.post(2)
    async with followed.worker(mark, on_lost=lost.set):
        assert (await followed.ended(job_id)).failed == 2
    assert not lost.is_set()


async def test_only_what_the_engine_had_is_suspected_and_what_was_finished_is_recorded(
    followed: Followed,
) -> None:
    engine, dies = Engine(blocked=True), asyncio.Event()

    async def mark(fields: dict[str, str]) -> Outcome:
        if len(engine.begun) < 3:  # the first three are finished, and not yet recorded
            engine.begun.append(fields["respuesta"])
            return Evaluation(3, "x")
        engine.begun.append(fields["respuesta"])
        engine.changed.set()
        await dies.wait()
        raise EngineLost

    lost = asyncio.Event()
    job_id = await followed.post(30)
    async with followed.worker(mark, engine.read, slots=2, batch=30, on_lost=lost.set):
        await engine.until(lambda: len(engine.begun) == 5 and len(engine.ready) == 7)
        dies.set()
        await lost.wait()
    begun = [int(text.split()[1]) for text in engine.begun]
    assert await indexes(followed.store, job_id) == begun[:3]
    (claim,) = await followed.store.claim(1)
    assert claim.suspects == set(begun[3:])
    assert set(claim.open) == set(range(30)) - set(begun[:3])


async def test_a_suspect_is_alone_in_the_engine_and_then_all_goes_on_as_before(followed: Followed) -> None:
    suspected, other = await followed.post(9, "ada"), await followed.post(20, "bob")
    await followed.store.claim(2)
    await followed.store.suspect(suspected, [3, 7])
    await followed.store.release([suspected, other])
    engine, beside = Engine(), Counter[str]()

    async def mark(fields: dict[str, str]) -> Outcome:
        inside.add(fields["respuesta"])
        try:
            for _ in range(5):
                await asyncio.sleep(0.001)
                for one in inside:
                    beside[one] = max(beside[one], len(inside))
            return await engine.mark(fields)
        finally:
            inside.remove(fields["respuesta"])

    inside: set[str] = set()
    async with followed.worker(mark, slots=3):
        for job_id, size in ((suspected, 9), (other, 20)):
            assert (await followed.ended(job_id)).done == size
    alone = {one for one, most in beside.items() if most == 1}
    assert alone >= {text(suspected, 3), text(suspected, 7)}
    assert max(beside.values()) == 3


async def test_an_engine_that_others_found_lost_gets_no_text_more(followed: Followed) -> None:
    """A synchronous text was in it: the texts of jobs that it had are suspects, and nobody is blamed."""
    engine, lost = Engine(blocked=True), asyncio.Event()
    job_id = await followed.post(10)
    async with followed.worker(engine.mark, slots=2, on_lost=lost.set) as worker:
        await engine.until(lambda: engine.running == 2)
        worker.lose()
        assert lost.is_set()
        engine.go.set()
    assert len(engine.begun) == 2
    assert len(await indexes(followed.store, job_id)) == 2
