"""How often a message is tried, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from predictors.gpt4_nano.backends.rows import Completion, Row
from predictors.gpt4_nano.pipeline.answering import Answerer, Outcome
from predictors.gpt4_nano.pipeline.messages import DLQ, RESULTS, Request
from predictors.gpt4_nano.pipeline.metrics import PipelineMetrics
from predictors.gpt4_nano.pipeline.settings import PipelineSettings
from predictors.runtime.errors import DeadlineExceeded, Internal, InvalidValue, Overloaded, Unavailable

DONE = Completion("Hello", 1, 2, "stop", "m")
RECORD: Any = SimpleNamespace(
    topic="inference-requests", partition=0, offset=3, key=b"k", value=b"{}", headers=(), timestamp=0
)


class Model:
    """Answers with what it is given, in turn; the last one again and again."""

    address = "triton:8001"

    def __init__(self, *answers: Completion | Exception) -> None:
        self._answers, self.calls = list(answers), 0

    async def infer(self, row: Row, within: float) -> Completion:
        self.calls += 1
        answer = self._answers[min(self.calls, len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def answer(model: Model) -> Outcome:
    settings = PipelineSettings(max_attempts=3, retry_base=0.0001, retry_longest=0.0002)  # pyright: ignore[reportCallIssue]
    answerer = Answerer(model, settings, PipelineMetrics(CollectorRegistry()))
    return await answerer.answer(RECORD, Request("one", "ann", Row("Hi")))


@pytest.mark.parametrize("error", [Unavailable("away"), Overloaded("full")])
async def test_what_is_no_message_s_fault_is_waited_for_without_end(error: Exception) -> None:
    model = Model(*[error] * 50, DONE)
    outcome = await answer(model)
    assert (outcome.status, model.calls) == ("success", 51)
    assert outcome.outgoing is not None
    assert json.loads(outcome.outgoing.value)["output"]["response_text"] == "Hello"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DeadlineExceeded("late"), b"exhausted_timeout"),
        (Internal("failed"), b"exhausted_unexpected"),
        (RuntimeError("a mistake of ours"), b"exhausted_unexpected"),
    ],
)
async def test_a_message_on_which_the_model_fails_is_a_dead_letter_after_its_tries(
    error: Exception, reason: bytes
) -> None:
    model = Model(error)
    outcome = await answer(model)
    assert (outcome.status, model.calls) == ("dlq", 3)
    assert outcome.outgoing is not None
    assert outcome.outgoing.topic == DLQ
    headers = dict(outcome.outgoing.headers)
    assert (headers["dlq-reason"], headers["dlq-attempts"]) == (reason, b"3")
    assert b"mistake" not in headers["dlq-message"]


async def test_a_failure_that_passes_is_no_matter() -> None:
    assert (await answer(Model(Internal("failed"), DeadlineExceeded("late"), DONE))).status == "success"


async def test_what_the_model_does_not_allow_is_an_answer() -> None:
    model = Model(InvalidValue("prompt must be shorter."))
    outcome = await answer(model)
    assert (outcome.status, model.calls) == ("failure", 1)
    assert outcome.outgoing is not None
    assert outcome.outgoing.topic == RESULTS
    assert json.loads(outcome.outgoing.value)["error_type"] == "validation"


async def test_no_more_calls_than_allowed_are_under_way() -> None:
    """Over all partitions, which share one answerer."""

    class Slow(Model):
        together = most = 0

        async def infer(self, row: Row, within: float) -> Completion:
            self.together += 1
            self.most = max(self.most, self.together)
            await asyncio.sleep(0)
            self.together -= 1
            return DONE

    model = Slow()
    settings = PipelineSettings(max_in_flight=2)  # pyright: ignore[reportCallIssue]
    answerer = Answerer(model, settings, PipelineMetrics(CollectorRegistry()))
    requests = [Request(str(number), "ann", Row("Hi")) for number in range(10)]
    await asyncio.gather(*(answerer.answer(RECORD, request) for request in requests))
    assert model.most == 2
