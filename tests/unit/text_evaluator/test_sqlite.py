"""What is in the file of the embedded store, and what no longer is."""

from __future__ import annotations

import asyncio
import resource
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from predictors.text_evaluator.evaluation import Evaluation
from predictors.text_evaluator.jobs.model import Event, Finished, NewJob
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import Claim, Quota, StoreUnavailable

TEXT, FEEDBACK = b"secret of a pupil", b"secret of a teacher"


@pytest.mark.parametrize(("marked", "way"), [(0, "removed"), (1, "removed"), (2, "removed"), (2, "expired")])
async def test_what_is_forgotten_is_in_no_file_any_more(tmp_path: Path, marked: int, way: str) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open(lambda _, __: None)
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": TEXT.decode()}
    job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", [text] * 2), Quota(9, 99))
    await store.claim(9)
    rows = [Finished(index, "A", Evaluation(3, FEEDBACK.decode())) for index in range(marked)]
    await store.record(job.id, rows, 0.1)
    assert (TEXT in on_disk(tmp_path)) is (marked < 2), "an ended job's texts are needed no more"
    assert (FEEDBACK in on_disk(tmp_path)) is (marked > 0)
    await (store.remove(job.id) if way == "removed" else store.expire(-1))
    assert TEXT not in on_disk(tmp_path)
    assert FEEDBACK not in on_disk(tmp_path)
    await store.close()


async def test_suspects_outlive_the_process_and_a_file_from_before_there_were_any_is_taken(
    tmp_path: Path,
) -> None:
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": "r"}
    for expected in (set[int](), {1}):
        store = SqliteStore(tmp_path / "jobs.db")
        await store.open(lambda _, __: None)
        job, _ = await store.create(NewJob("posted", "ada", [text] * 2, "key"), Quota(9, 99))
        (claim,) = await store.claim(9)
        assert (claim.open, claim.suspects) == ([0, 1], expected)
        if not expected:
            await store._run(store._all, "DROP TABLE suspects")
            await store.close()
            store = SqliteStore(tmp_path / "jobs.db")
            await store.open(lambda _, __: None)
            await store.claim(9)
            await store.suspect(job.id, [1])
        await store.close()


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    """What was accepted survives a power cut: without it, only the process."""
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open(lambda _, __: None)
    modes = [await store._run(store._all, f"PRAGMA {name}") for name in ("synchronous", "journal_mode")]
    assert modes == [[(2,)], [("wal",)]], "2 is FULL"
    await store.close()


@pytest.mark.parametrize("late", [False, True])
async def test_a_caller_who_hangs_up_has_removed_the_job_all_the_same(tmp_path: Path, late: bool) -> None:
    store, told, gone = SqliteStore(tmp_path / "jobs.db"), asyncio.Queue[str](), asyncio.Event()

    def hear(_: str, events: Sequence[Event]) -> None:
        for event in events:
            told.put_nowait(event.name)
            gone.set()

    await store.open(hear)
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": TEXT.decode()}
    job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", [text] * 2), Quota(9, 99))
    await store.claim(9)
    caller = asyncio.create_task(store.remove(job.id))
    await (gone.wait() if late else asyncio.sleep(0))
    caller.cancel()
    assert await asyncio.wait_for(told.get(), 10) == "error"
    assert await store.renew([job.id]) == set()
    assert TEXT not in on_disk(tmp_path)
    await store.close()


async def test_a_caller_who_hangs_up_has_posted_the_job_all_the_same(tmp_path: Path) -> None:
    store, heard = SqliteStore(tmp_path / "jobs.db"), asyncio.Queue[str]()
    await store.open(lambda job_id, _: heard.put_nowait(job_id))
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": "r"}
    caller = asyncio.create_task(store.create(NewJob("posted", "ada", [text]), Quota(9, 99)))
    await asyncio.sleep(0)
    caller.cancel()
    assert await asyncio.wait_for(heard.get(), 10) == "posted"
    assert [claim.job.id for claim in await store.claim(9)] == ["posted"]
    await store.close()


@pytest.mark.parametrize("pages", [0, 1])
async def test_a_claim_on_a_full_disk_holds_all_or_nothing(tmp_path: Path, pages: int) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open(lambda _, __: None)
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": "r"}
    made = [(await store.create(NewJob(str(n), f"o{n}", [text]), Quota(9, 99)))[0].id for n in range(4)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = (tmp_path / "jobs.db-wal").stat().st_size + pages * (4096 + 24)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    claims: list[Claim] = []
    with suppress(StoreUnavailable):
        claims += await store.claim(9)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(claims) in (0, 4)
    claims += await store.claim(9)
    assert sorted(claim.job.id for claim in claims) == sorted(made)
    await store.close()


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())
