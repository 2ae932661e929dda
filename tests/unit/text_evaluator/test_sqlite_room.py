"""A store that may not grow for ever: what is accepted can be brought to its end, and no more is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictors.text_evaluator.evaluation import Evaluation
from predictors.text_evaluator.jobs.model import Finished, NewJob, State
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import Quota, StoreUnavailable

MOST = 1 << 18
QUOTA = Quota(10_000, 10_000)


def new(number: int, texts: int, length: int) -> NewJob:
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": "x" * length}
    return NewJob(str(number), f"o{number}", [text] * texts)


async def fill(store: SqliteStore, texts: int, length: int) -> list[str]:
    """Ids of the jobs that were taken before one was not."""
    taken: list[str] = []
    refused: StoreUnavailable | None = None
    while refused is None:
        try:
            job, _ = await store.create(new(1 + len(taken), texts, length), QUOTA)
            taken.append(job.id)
        except StoreUnavailable as error:
            refused = error
    assert (refused.status, refused.retry_after) == (503, 5)
    assert refused.message == "The job store has no room left; try again later."
    assert await store.get(str(1 + len(taken))) is None, "a job is taken whole or not at all"
    return taken


@pytest.mark.parametrize(("texts", "length"), [(1, 10), (20, 10), (5, 5000)])
async def test_what_was_accepted_comes_to_its_end_in_the_room_there_is(
    tmp_path: Path, texts: int, length: int
) -> None:
    store = SqliteStore(tmp_path / "jobs.db", MOST)
    await store.open(lambda _, __: None)
    taken = await fill(store, texts, length)
    assert len(taken) * texts * (length + 2048) > MOST / 2, "no room is wasted"
    for claim in await store.claim(len(taken)):
        for index in claim.open:
            mark = Evaluation(3, "f" * 400)
            await store.record(claim.job.id, [Finished(index, "A", mark)], 0.1)
    jobs = [await store.get(job_id) for job_id in taken]
    assert {job.state for job in jobs if job is not None} == {State.COMPLETED}
    assert (tmp_path / "jobs.db").stat().st_size <= MOST
    with pytest.raises(StoreUnavailable):
        await store.create(new(0, MOST // 2048, 10), QUOTA)
    for job_id in taken:
        await store.remove(job_id)
    assert (await store.create(new(0, texts, length), QUOTA))[1], "there is room again"
    await store.close()


async def test_a_store_that_is_larger_already_is_opened_and_takes_no_more(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open(lambda _, __: None)
    await store.create(new(0, 50, 10_000), QUOTA)
    await store.close()
    store = SqliteStore(tmp_path / "jobs.db", 65536)
    await store.open(lambda _, __: None)
    assert await store.get("0") is not None
    assert await fill(store, 1, 10) == []
    await store.close()
