"""Triton as the runtime's engine: each request is a task of its own, and Triton makes the batches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

from predictors.gpt4_nano.backends.rows import Completion, Row
from predictors.gpt4_nano.triton import Triton
from predictors.runtime.errors import Internal, ServiceError
from predictors.runtime.generation import Generation
from predictors.runtime.metrics import Metrics

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.5

Running = Generation[Row, str, Completion]


class TritonEngine:
    """``stopped`` is called once, when nothing more will be asked."""

    def __init__(
        self, triton: Triton, loop: asyncio.AbstractEventLoop, metrics: Metrics, stopped: Callable[[], None]
    ) -> None:
        self.ready = False
        """Whether Triton has the models ready, as last heard."""
        self._triton, self._loop, self._metrics, self._stopped = triton, loop, metrics, stopped
        self._tasks: dict[Running, asyncio.Task[None]] = {}
        self._watch = loop.create_task(self._watch_readiness())

    def start(self, generation: Running) -> None:
        self._tasks[generation] = self._loop.create_task(self._run(generation))

    def cancel(self, generation: Running) -> None:
        if task := self._tasks.get(generation):
            task.cancel()

    def stop(self) -> None:
        for task in (self._watch, *self._tasks.values()):
            task.cancel()
        self._stopped()

    async def _run(self, generation: Running) -> None:
        started = self._loop.time()
        try:
            generation.finish(await self._completion(generation, generation.deadline - started))
        except ServiceError as error:
            generation.finish(error)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("The call of Triton failed.")
            self._metrics.engine_failures.inc()
            generation.finish(Internal("The model failed on this input."))
        finally:
            self._metrics.infer_seconds.observe(self._loop.time() - started)
            del self._tasks[generation]

    async def _completion(self, generation: Running, within: float) -> Completion:
        if not generation.streamed:
            completion = await self._triton.infer(generation.work, within)
            generation.emit(tokens=completion.tokens_used)
            return completion
        told: list[str] = []
        pieces: AsyncGenerator[Completion, None] = self._triton.stream(generation.work, within)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if piece.finish_reason:
                    return replace(piece, response="".join(told))
                told.append(piece.response)
                generation.emit(piece.response)
        raise Internal("The model's answer broke off.")

    async def _watch_readiness(self) -> None:
        while True:
            ready = await self._triton.ready()
            if ready != self.ready:
                logger.info("Triton is ready." if ready else "Triton is not ready.")
            self.ready = ready
            await asyncio.sleep(WATCH_SECONDS)
