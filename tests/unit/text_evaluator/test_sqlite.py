"""What is in the file of the embedded store, and what no longer is."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from predictors.text_evaluator.evaluation import Evaluation
from predictors.text_evaluator.jobs.model import Finished, NewJob
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import Quota

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


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())
