"""What the bench for cards makes of its time and of what it found; vLLM and the card are not here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer

from benchmarks.text_evaluator_gpu import (
    AT_A_TIME,
    BACKEND,
    FEEDBACK_CHARS,
    SCHEMA,
    SECONDS,
    SERVED,
    TEXTS,
    Measured,
    Run,
    run,
    share,
    write_model,
)
from predictors.text_evaluator.engine import options
from predictors.text_evaluator.settings import TextEvaluatorSettings


def test_answers_are_asked_for_as_in_serving_and_as_long_as_they_may_be() -> None:
    settings = TextEvaluatorSettings.model_validate({})
    served = options.answer_schema(settings)
    served["properties"]["feedback"]["minLength"] = FEEDBACK_CHARS
    assert served == SCHEMA
    assert settings.max_feedback_chars == FEEDBACK_CHARS
    assert BACKEND == options.BACKEND
    assert SERVED in AT_A_TIME


def test_numbers_at_a_time_have_half_of_what_the_start_has_left() -> None:
    assert share(1000.0) == SECONDS
    assert share(80.0) * len(AT_A_TIME) == 40.0
    assert share(-1.0) == 0.0


class Engine:
    """Answers at once so often, and then never."""

    def __init__(self, answers: int) -> None:
        self.left, self.aborted = answers, 0

    async def generate(self, prompt: Any, sampling: Any, name: str) -> AsyncIterator[Any]:
        self.left -= 1
        if self.left < 0:
            try:
                await asyncio.Event().wait()
            finally:
                self.aborted += 1
        yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=[0] * 120)])


async def test_all_texts_are_counted_once() -> None:
    found = await run(Engine(100), None, 1000, 8, count=100, deadline=time.perf_counter() + 60)
    assert (len(found.latencies), found.tokens) == (100, 100 * 120)


async def test_what_is_not_through_at_the_deadline_is_given_up_and_not_counted() -> None:
    engine = Engine(30)
    found = await run(engine, None, 1000, 8, count=100, deadline=time.perf_counter() + 0.2)
    assert len(found.latencies) == 30
    assert engine.aborted == 8


async def test_an_engine_that_fails_is_no_measurement() -> None:
    with pytest.raises(AttributeError):
        await run(None, None, 1000, 2, count=2, deadline=time.perf_counter() + 60)


def measured(**other: Any) -> Measured:
    served = Run(SERVED, 10.0, [2.5] * 100)
    given = {"runs": [Run(8, 10.0, [9.0] * 100), served], "all_texts": Run(128, 90.0, [9.0] * TEXTS)}
    return Measured(**{**given, "gigabytes": 20.0, **other})


@pytest.mark.parametrize(
    ("other", "fails"),
    [
        ({}, None),
        ({"runs": [Run(SERVED, 10.0, [2.5] * 90 + [3.5] * 10)]}, "P95 3.50 s < 3 s, 32 at a time"),
        ({"runs": [Run(SERVED, 30.0, [2.5] * 100)]}, "3.3 texts/s >= 5, 32 at a time"),
        ({"all_texts": Run(128, 90.0, [1.0] * 1999)}, "1999 of 2000 texts were through"),
        ({"gigabytes": 22.5}, "22.5 GB < 22 GB of the card"),
    ],
)
def test_each_claim_is_judged_by_itself(other: dict[str, Any], fails: str | None) -> None:
    assert [claim for claim, holds in measured(**other).verdict() if not holds] == ([fails] if fails else [])


def test_what_was_not_measured_does_not_hold() -> None:
    verdict = list(measured(runs=[]).verdict())
    assert ("P95 inf s < 3 s, 32 at a time", False) in verdict
    assert str(Run(8, 3.0)) == "8 at a time: not one text was through in 3.0 s"


def test_the_made_tokenizer_has_a_text_of_its_own_for_every_token(tmp_path: Path) -> None:
    write_model(tmp_path, {"vocab_size": 2000})
    assert json.loads((tmp_path / "config.json").read_text()) == {"vocab_size": 2000}
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 2000
    answer = '{"nota": 3, "feedback": "Bé."}'
    assert tokenizer.decode(tokenizer.encode(answer).ids) == answer
