"""Our side of vLLM: what it is given, and what becomes of each of its answers. vLLM itself is not here."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from predictors.text_evaluator.engine import vllm
from predictors.text_evaluator.engine.vllm import VllmEngine
from predictors.text_evaluator.evaluation import EngineLost, Evaluation, ItemError
from predictors.text_evaluator.reading import Reading
from predictors.text_evaluator.settings import TextEvaluatorSettings

READING = Reading([2, 7, 8], truncated=False, neutralised=0)


class EngineDeadError(Exception):
    """As vLLM's is called."""


class AsyncLLM:
    """As much of vLLM's as we use: answers what it is told to, and says what it was given."""

    def __init__(self, arguments: SimpleNamespace) -> None:
        self.arguments = arguments
        self.asked: list[tuple[Any, SimpleNamespace, str]] = []
        self.priorities: list[int] = []
        self.answer: Any = None
        self.aborted = asyncio.Event()

    @classmethod
    def from_engine_args(cls, arguments: SimpleNamespace) -> AsyncLLM:
        return cls(arguments)

    async def generate(
        self, prompt: Any, sampling: SimpleNamespace, name: str, *, priority: int
    ) -> AsyncIterator[Any]:
        self.asked.append((prompt, sampling, name))
        self.priorities.append(priority)
        if isinstance(self.answer, Exception):
            raise self.answer
        try:
            if self.answer is None:
                await asyncio.Event().wait()
        finally:
            self.aborted.set()
        yield self.answer

    def shutdown(self) -> None: ...


def completion(text: str, reason: str) -> SimpleNamespace:
    output = SimpleNamespace(text=text, finish_reason=reason, token_ids=[1, 2, 3, 4])
    return SimpleNamespace(outputs=[output], num_cached_tokens=2)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VllmEngine]:
    """Loaded as ever, with vLLM's modules as its documentation has them."""
    parts: dict[str, dict[str, Any]] = {
        "vllm": {},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": SimpleNamespace},
        "vllm.sampling_params": {
            "RequestOutputKind": SimpleNamespace(FINAL_ONLY="final"),
            "SamplingParams": SimpleNamespace,
            "StructuredOutputsParams": SimpleNamespace,
        },
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": AsyncLLM},
        "vllm.v1.engine.exceptions": {"EngineDeadError": EngineDeadError},
    }
    for name, members in parts.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Gemma2ForCausalLM"]}))
    save_file({"a": torch.zeros(4)}, tmp_path / "model.safetensors")
    values = {"model_dir": tmp_path, "device": "cpu", "max_feedback_chars": 123}
    engine = VllmEngine(TextEvaluatorSettings.model_validate(values))
    with monkeypatch.context() as context:  # what load sets goes with it
        context.setattr("os.environ", {})
        engine.load(lambda _: None)
    yield engine
    engine.close()


@pytest.mark.parametrize("greedy", [False, True])
async def test_every_answer_is_asked_for_by_its_schema(engine: VllmEngine, *, greedy: bool) -> None:
    engine._llm.answer = completion('{"nota": 3, "feedback": "Bé."}', "stop")
    await engine.mark(READING, greedy=greedy)
    ((prompt, sampling, _),) = engine._llm.asked
    assert prompt == {"prompt_token_ids": READING.ids}
    asked = sampling.structured_outputs.json["properties"]
    assert asked["nota"]["enum"] == [0, 1, 2, 3, 4, 5]
    assert asked["feedback"]["maxLength"] == 123
    assert sampling.temperature == (0.0 if greedy else 0.1)
    assert sampling.output_kind == "final", "nothing is done for each token"


def test_the_backend_is_the_one_whose_answers_parse(engine: VllmEngine) -> None:
    assert engine._llm.arguments.structured_outputs_config == {
        "backend": "guidance",
        "disable_any_whitespace": True,
    }


async def test_each_text_has_a_name_of_its_own(engine: VllmEngine) -> None:
    engine._llm.answer = completion("", "stop")
    for _ in range(3):
        await engine.mark(READING)
    assert len({name for _, _, name in engine._llm.asked}) == 3


@pytest.mark.parametrize("patience", [vllm.PATIENCE, 0.0])
async def test_patient_texts_let_those_that_come_soon_after_go_first(
    engine: VllmEngine, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "PATIENCE", patience)
    assert engine._llm.arguments.scheduling_policy == "priority"
    engine._llm.answer = completion("", "stop")
    await engine.mark(READING, patient=True)
    await engine.mark(READING)
    patient, other = engine._llm.priorities  # vLLM begins with the lowest, and of equals with the first
    assert other < patient if patience else patient <= other


async def test_a_finished_answer_is_a_mark_with_what_it_took(engine: VllmEngine) -> None:
    engine._llm.answer = completion('{"nota": 3, "feedback": "Bé."}', "stop")
    marked = await engine.mark(READING)
    assert marked.outcome == Evaluation(3, "Bé.")
    assert (marked.prompt_tokens, marked.cached_tokens, marked.generated_tokens) == (3, 2, 4)


WHOLE = '{"nota": 3, "feedback": "x"}'


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        # Not even where what there is could be read: it is not what the model wanted to say.
        (completion(WHOLE, "length"), "length"),
        (completion('{"nota": 3, "feed', "length"), "length"),
        (completion(WHOLE, "abort"), "engine"),
        (completion(WHOLE, "error"), "engine"),
        (completion('{"nota": 3, "feed', "stop"), "unreadable"),
        (RuntimeError("words of a pupil"), "engine"),
        (ValueError("words of a pupil"), "engine"),
    ],
)
async def test_what_is_no_finished_answer_is_an_error_and_no_mark(
    engine: VllmEngine, answer: Any, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine._llm.answer = answer
    outcome = (await engine.mark(READING)).outcome
    assert isinstance(outcome, ItemError)
    assert outcome.code == code
    assert "words of a pupil" not in caplog.text + outcome.message


async def test_a_dead_engine_is_no_texts_fault(engine: VllmEngine) -> None:
    engine._llm.answer = EngineDeadError("gone")
    with pytest.raises(EngineLost):
        await engine.mark(READING)


async def test_cancelling_ends_it_in_vllm(engine: VllmEngine) -> None:
    task = asyncio.create_task(engine.mark(READING))
    while not engine._llm.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(engine._llm.aborted.wait(), 5)
