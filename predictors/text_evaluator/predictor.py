"""text_evaluator as the runtime sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter
from prometheus_client import Gauge
from pydantic import ValidationError

from predictors.runtime.cpus import available_cpus
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import InvalidValue, LoadError, ServiceError
from predictors.runtime.generation import Generation
from predictors.runtime.metrics import Metrics
from predictors.runtime.predictor import GenerativePredictor
from predictors.runtime.tensors import TensorSpec, detail
from predictors.text_evaluator import routes
from predictors.text_evaluator.engine import Engine, Marked
from predictors.text_evaluator.engine.vllm import VllmEngine
from predictors.text_evaluator.evaluation import ENGINE, EngineLost, Evaluation, Item, ItemError, Outcome
from predictors.text_evaluator.faults import log_fault
from predictors.text_evaluator.figures import Figures
from predictors.text_evaluator.jobs.service import Jobs
from predictors.text_evaluator.reading import Reader, Refusal, Work
from predictors.text_evaluator.settings import TextEvaluatorSettings

logger = logging.getLogger(__name__)

_GOLDEN = Item(
    id_alumno="",
    curso="3r ESO",
    consigna="Explica el cicle de l'aigua",
    respuesta="L'aigua del mar s'evapora amb la calor del sol, puja i forma els núvols. Després plou.",
)
_OPENING_SECONDS, _GOLDEN_SECONDS = 60, 300


class TextEvaluator(GenerativePredictor[Item, Work, Outcome]):
    name = "text_evaluator"
    title = "Marks and feedback for school texts"
    inputs = (
        TensorSpec("id_alumno", "BYTES", optional=True),
        TensorSpec("curso", "BYTES"),
        TensorSpec("consigna", "BYTES"),
        TensorSpec("respuesta", "BYTES"),
    )
    outputs = (
        # A text without a mark must never be taken for one with the mark 0.
        TensorSpec("nota", "INT64", optional=True, absent=-1),
        TensorSpec("feedback", "BYTES", optional=True),
        TensorSpec("truncated", "BOOL"),
        TensorSpec("code", "BYTES", optional=True),
        TensorSpec("error", "BYTES", optional=True),
    )

    def __init__(
        self,
        settings: TextEvaluatorSettings,
        engine: Callable[[TextEvaluatorSettings], Engine] = VllmEngine,
    ) -> None:
        self._settings = settings
        self._engine = engine(settings)
        self._reader: Reader
        self._loop: asyncio.AbstractEventLoop
        self._figures: Figures
        self._queue: Gauge
        self._loaded = False
        self._readers = ThreadPoolExecutor(settings.threads or available_cpus(), "reader")
        self.jobs = Jobs(settings, self._read, partial(self._mark, patient=True), self._on_lost)

    # -- loading

    def load(self, progress: Callable[[str], None]) -> None:
        settings = self._settings
        room = settings.max_model_len - settings.max_tokens
        self._reader = Reader(settings.model_dir, room, settings.on_too_long)
        progress("opening the job store")
        self._on_loop(self.jobs.open(), _OPENING_SECONDS, "The job store did not open")
        self._engine.load(progress)

    def self_test(self) -> None:
        """A text gets a mark twice: the second time, of a prompt that is found computed (prefix caching).

        The two are not compared: sums in another order, as cached, may tell another word in 8 or 16 bits.
        """
        reading = self._reader.read(_GOLDEN)
        if isinstance(reading, Refusal):
            raise LoadError(f"The self-test's text cannot be read: {reading.error.message}")
        for _ in range(2):
            mark = self._engine.mark(reading, greedy=True)
            marked = self._on_loop(mark, _GOLDEN_SECONDS, "The self-test was not answered")
            if not isinstance(marked.outcome, Evaluation):
                raise LoadError(f"The self-test's text got no mark: {marked.outcome.message}")
        self._loaded = True

    def _on_loop(self, work: Any, seconds: float, late: str) -> Any:
        """``late``: what is said when it takes longer."""
        task = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return task.result(seconds)
        except TimeoutError:
            task.cancel()
            raise LoadError(f"{late} within {seconds:g} s.") from None

    # -- one text

    async def _read(self, fields: Mapping[str, str]) -> Work:
        """For jobs; what was accepted is not judged again."""
        item = Item.model_construct(None, **fields)
        return await self._loop.run_in_executor(self._readers, self._reader.read, item)

    async def _mark(self, work: Work, *, patient: bool = False) -> Outcome:
        if isinstance(work, Refusal):
            self._figures.marked(Marked(work.error), 0.0, work.neutralised)
            return work.error
        started = time.perf_counter()
        try:
            marked = await self._engine.mark(work, patient=patient)
        except EngineLost:
            raise
        except Exception as error:
            # This text's alone, at once as in a job: its neighbours have their marks.
            log_fault(logger, "A text could not be marked.", error)
            marked = Marked(ItemError("engine", ENGINE))
        self._figures.marked(marked, time.perf_counter() - started, work.neutralised)
        if work.truncated and isinstance(marked.outcome, Evaluation):
            return replace(marked.outcome, truncated=True)
        return marked.outcome

    def _on_lost(self) -> None:
        """Without its engine this process is of no use; its jobs are given back, another one begins."""
        if not self._loaded:  # every text that it had says so
            return
        logger.error("The engine has died; ending.")
        self._loaded = False
        self.jobs.lose()
        os.kill(os.getpid(), signal.SIGTERM)

    # -- v1, v2, gRPC

    def parse(self, fields: Mapping[str, Any]) -> Item:
        try:
            return Item.model_validate({"id_alumno": "", **fields})
        except ValidationError as error:
            details = [
                detail(".".join(map(str, entry["loc"])), entry["msg"].removeprefix("Value error, "))
                for entry in error.errors()[:20]
            ]
            raise InvalidValue("A field is not allowed.", details=details) from None

    def prepare(self, items: Sequence[Item]) -> Sequence[Work | ServiceError]:
        return [self._reader.read(item) for item in items]

    def tokens(self, work: Work) -> int:
        return 1 if isinstance(work, Refusal) else len(work.ids) + self._settings.max_tokens

    def run(self, batch: Sequence[Work]) -> Sequence[Outcome | ServiceError]:
        raise NotImplementedError  # texts run one by one, in the engine's own loop

    def engine(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> _Direct:
        self._loop = loop
        self._figures.generated(metrics.generated_tokens)
        return _Direct(self._mark, loop, self._on_lost, self._engine.close)

    def render(self, result: Outcome) -> Mapping[str, Any]:
        if isinstance(result, ItemError):
            error = {"code": result.code, "error": result.message}
            return {"nota": None, "feedback": None, "truncated": False, **error}
        mark = {"nota": result.nota, "feedback": result.feedback, "truncated": result.truncated}
        return {**mark, "code": None, "error": None}

    # -- jobs

    def routes(self, dataplane: DataPlane[Item, Outcome]) -> APIRouter:
        return routes.router(dataplane, self.jobs, self._settings, self._figures)

    @contextlib.asynccontextmanager
    async def background(self, dataplane: DataPlane[Item, Outcome]) -> AsyncIterator[None]:
        # Replicas are scaled by it: texts of jobs wait for the same engine as those answered at once.
        self._queue.set_function(lambda: dataplane.batcher.queued_items + self.jobs.waiting)
        async with self.jobs.working(self._figures.totals):
            try:
                yield
            finally:
                self.jobs.feed.close()

    # -- what is told

    def register(self, metrics: Metrics) -> None:
        self._figures, self._queue = Figures(metrics.registry), metrics.queue_items
        self._figures.follow(lambda: self.jobs.feed.followers)

    def health(self) -> Mapping[str, Any]:
        """As published; figures of the card where there is one."""
        gpu = self._engine.gpu() if self._loaded else None
        said: dict[str, Any] = {
            "model_loaded": self._loaded,
            "gpu_available": gpu is not None,
            "active_jobs": self.jobs.active,
        }
        if gpu is None:
            return said
        # Flat as published, and by name as later readers have it.
        memory = {name: gpu[name] for name in ("total_gb", "used_gb") if name in gpu}
        return said | {"gpu_memory_total": gpu.get("total_gb"), "gpu_name": gpu["name"], "gpu_memory": memory}

    def description(self) -> Mapping[str, str]:
        return self._engine.description()


class _Direct:
    """The runtime's engine for synchronous texts: each is a task, which the real engine batches."""

    def __init__(
        self,
        mark: Callable[[Work], Any],
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[], None],
        close: Callable[[], None],
    ) -> None:
        self._mark, self._loop, self._on_lost, self._close = mark, loop, on_lost, close
        self._tasks: dict[Generation[Work, None, Outcome], asyncio.Task[None]] = {}

    def start(self, generation: Generation[Work, None, Outcome]) -> None:
        task = self._tasks[generation] = self._loop.create_task(self._run(generation))
        # Not at the end of _run: what is cancelled in the same turn never begins.
        task.add_done_callback(lambda _: self._tasks.pop(generation, None))

    def cancel(self, generation: Generation[Work, None, Outcome]) -> None:
        if (task := self._tasks.get(generation)) is not None:
            task.cancel()

    def stop(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        self._close()

    async def _run(self, generation: Generation[Work, None, Outcome]) -> None:
        try:
            generation.finish(await self._mark(generation.work))
        except EngineLost as error:
            generation.crash(error)
            self._on_lost()
        except Exception as error:
            log_fault(logger, "A text could not be marked.", error)
            generation.crash(error)
