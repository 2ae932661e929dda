"""The predictor's own part of synchronous texts, and what it says of the card."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from predictors.runtime.errors import LoadError
from predictors.text_evaluator.engine import Engine, Marked
from predictors.text_evaluator.evaluation import UNREADABLE, ItemError
from predictors.text_evaluator.figures import Figures
from predictors.text_evaluator.predictor import TextEvaluator, _Direct
from predictors.text_evaluator.reading import Reading
from predictors.text_evaluator.settings import TextEvaluatorSettings
from tests.support.gemma import write_tokenizer
from tests.support.rule import rule


async def test_a_text_that_is_cancelled_before_it_begins_is_kept_nowhere() -> None:
    async def mark(_: Any) -> None:
        await asyncio.Event().wait()

    direct = _Direct(mark, asyncio.get_running_loop(), lambda: None, lambda: None)
    generations: list[Any] = [type("Generation", (), {"work": None})() for _ in range(3)]
    for generation in generations:
        direct.start(generation)
        direct.cancel(generation)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not direct._tasks


class Carded:
    """An engine on a card, that answers or has failed."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said = said

    def load(self, progress: Callable[[str], None]) -> None: ...

    async def mark(self, reading: Reading, *, greedy: bool = False, patient: bool = False) -> Marked:
        return Marked(rule("x"))

    def description(self) -> Mapping[str, str]:
        return {}

    def gpu(self) -> Mapping[str, Any] | None:
        return self._said

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        (
            {"name": "L40", "total_gb": 48.0, "used_gb": 1.5},
            {
                "gpu_memory_total": 48.0,
                "gpu_name": "L40",
                "gpu_memory": {"total_gb": 48.0, "used_gb": 1.5},
            },
        ),
        ({"name": ""}, {"gpu_memory_total": None, "gpu_name": "", "gpu_memory": {}}),
    ],
)
def test_health_has_the_cards_published_fields(
    gpu: dict[str, Any], said: dict[str, Any], tmp_path: Any
) -> None:
    predictor = TextEvaluator(
        TextEvaluatorSettings.model_validate({"model_dir": tmp_path}), lambda _: Carded(gpu)
    )
    assert predictor.health() == {"model_loaded": False, "gpu_available": False, "active_jobs": 0}
    predictor._loaded = True
    assert predictor.health() == {"model_loaded": True, "gpu_available": True, "active_jobs": 0} | said


class Failing(Carded):
    """An engine that starts, and whose first answer is none; or never comes."""

    def __init__(self, outcome: ItemError | None) -> None:
        super().__init__({"name": "L40"})
        self._outcome = outcome

    async def mark(self, reading: Reading, *, greedy: bool = False, patient: bool = False) -> Marked:
        if self._outcome is None:
            await asyncio.Event().wait()
            raise AssertionError
        return Marked(self._outcome)


def loaded(folder: Path, engine: Engine) -> TextEvaluator:
    values = {"model_dir": write_tokenizer(folder), "store": f"sqlite:{folder}/jobs.db"}
    predictor = TextEvaluator(TextEvaluatorSettings.model_validate(values), lambda _: engine)
    predictor._loop = asyncio.get_running_loop()
    return predictor


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (ItemError("unreadable", UNREADABLE), "The self-test's text got no mark: The model's answer could"),
        (None, r"The self-test was not answered within 0\.1 s"),
    ],
)
async def test_an_engine_that_gives_no_mark_is_never_ready(
    tmp_path: Path, outcome: ItemError | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictors.text_evaluator.predictor._GOLDEN_SECONDS", 0.1 if outcome is None else 9)
    predictor = loaded(tmp_path, Failing(outcome))
    await asyncio.to_thread(predictor.load, lambda _: None)
    with pytest.raises(LoadError, match=said):
        await asyncio.to_thread(predictor.self_test)
    assert predictor.health()["model_loaded"] is False
    await predictor.jobs.store.close()


class Asked(Carded):
    """An engine that remembers which texts could wait."""

    def __init__(self) -> None:
        super().__init__({"name": "L40"})
        self.patient: dict[int, bool] = {}

    async def mark(self, reading: Reading, *, greedy: bool = False, patient: bool = False) -> Marked:
        self.patient[len(reading.ids)] = patient
        return Marked(rule("x"))


async def test_texts_of_jobs_let_those_answered_at_once_go_first(tmp_path: Path) -> None:
    engine = Asked()
    predictor = loaded(tmp_path, engine)
    predictor._figures = Figures(CollectorRegistry())
    await predictor.jobs._mark(Reading([1], truncated=False, neutralised=0))
    await predictor._mark(Reading([1, 2], truncated=False, neutralised=0))
    assert engine.patient == {1: True, 2: False}


async def test_a_lost_engine_ends_jobs_and_the_process_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every text that was in it says so, those of jobs and those answered at once."""
    predictor, heard = loaded(tmp_path, Carded({})), list[str]()
    monkeypatch.setattr("os.kill", lambda _, number: heard.append(number.name))
    predictor._loaded = True
    await predictor.jobs.open()
    async with predictor.jobs.working(lambda _: None):
        for _ in range(3):
            predictor._on_lost()
        worker = predictor.jobs._worker
        assert worker is not None
        assert worker._losing is not None
    assert heard == ["SIGTERM"]
    await predictor.jobs.store.close()


async def test_a_job_store_that_is_slow_to_open_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictors.text_evaluator.predictor._OPENING_SECONDS", 0.1)
    predictor = loaded(tmp_path, Carded({}))
    monkeypatch.setattr(predictor.jobs, "open", asyncio.Event().wait)
    with pytest.raises(LoadError, match=r"The job store did not open within 0\.1 s"):
        await asyncio.to_thread(predictor.load, lambda _: None)
