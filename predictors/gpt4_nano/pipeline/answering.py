"""One message to its outcome: asks the model, retries in place, and says what is to be sent."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Any, Protocol

from predictors.gpt4_nano.backends.rows import Completion, InvalidRow, Row
from predictors.gpt4_nano.pipeline import messages
from predictors.gpt4_nano.pipeline.messages import Outgoing, Poison, Request
from predictors.gpt4_nano.pipeline.metrics import PipelineMetrics
from predictors.gpt4_nano.pipeline.settings import PipelineSettings
from predictors.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidValue,
    Overloaded,
    ServiceError,
    Unavailable,
)

logger = logging.getLogger(__name__)


class Model(Protocol):
    address: str

    async def infer(self, row: Row, within: float) -> Completion:
        """Raises ServiceError."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """``outgoing`` is None for a duplicate, which is answered already."""

    outgoing: Outgoing | None
    status: str


class Answerer:
    def __init__(self, model: Model, settings: PipelineSettings, metrics: PipelineMetrics) -> None:
        self._model, self._settings, self._metrics = model, settings, metrics
        self._room = asyncio.Semaphore(settings.max_in_flight)

    def poison(self, record: Any, error: Poison) -> Outcome:
        return self._dead(record, error.reason, str(error), attempts=0)

    async def answer(self, record: Any, request: Request) -> Outcome:
        """Always an outcome; what cannot be reached is waited for."""
        if isinstance(request.row, InvalidRow):
            return self._failed(record, request, f"{request.row}.", "validation")
        attempts, tries = 0, 0
        while True:
            started = time.perf_counter()
            try:
                async with self._room:
                    started = time.perf_counter()
                    completion = await self._model.infer(request.row, self._settings.call_timeout)
            except InvalidValue as error:
                return self._failed(record, request, error.message, "validation")
            except Exception as fault:
                error = fault if isinstance(fault, ServiceError) else _unexpected(fault)
                # Not there, or too busy: that is no message's fault.
                attempts += not isinstance(error, Unavailable | Overloaded)
                if attempts >= self._settings.max_attempts:
                    kind = "timeout" if isinstance(error, DeadlineExceeded) else "unexpected"
                    self._metrics.errors.labels(kind).inc()
                    return self._dead(record, f"exhausted_{kind}", error.message, attempts, request)
                self._metrics.retries.labels(error.code).inc()
                await asyncio.sleep(self._pause(tries))
                tries += 1
                continue
            finally:
                self._metrics.inference_seconds.observe(time.perf_counter() - started)
            self._metrics.tokens_used.observe(completion.tokens_used)
            body = messages.success(
                request,
                completion,
                seconds=time.perf_counter() - started,
                triton=self._model.address,
                timestamp=time.time(),
            )
            return Outcome(messages.result(request, body, record.key), "success")

    def _pause(self, tries: int) -> float:
        longest = min(self._settings.retry_longest, self._settings.retry_base * 2 ** min(tries, 30))
        return longest * random.uniform(0.5, 1.0)

    def _failed(self, record: Any, request: Request, error: str, error_type: str) -> Outcome:
        self._metrics.errors.labels(error_type).inc()
        body = messages.failure(request.request_id, error, error_type, time.time())
        return Outcome(messages.result(request, body, record.key), "failure")

    def _dead(
        self, record: Any, reason: str, message: str, attempts: int, request: Request | None = None
    ) -> Outcome:
        self._metrics.dlq.labels(reason).inc()
        letter = messages.dead_letter(
            record.value,
            record.key,
            record.headers,
            reason=reason,
            message=message,
            source=(record.topic, record.partition, record.offset),
            attempts=attempts,
            timestamp=time.time(),
            request=request,
        )
        return Outcome(letter, "dlq")


def _unexpected(fault: Exception) -> ServiceError:
    """Ours to mend; for the message it is a failed try like any other."""
    logger.error("The call of the model failed.", exc_info=fault)
    return Internal("The model could not be asked.")
