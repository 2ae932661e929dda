"""text_evaluator with a rule for an engine; routes, jobs and stores are as they are.

Run as ``python -m tests.support.evaluator``. A mark is the number of words modulo 6. Texts that begin with
``!`` steer it: ``!length`` is cut off, ``!boom ...`` makes the engine raise with the text in the exception,
``!die`` is its end, ``!wait`` takes a minute. ``RULE_SECONDS`` is what the others take. What the engine
begins, and what is cancelled there, is a line in the file ``RULE_LOG``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from predictors.runtime.main import main
from predictors.text_evaluator.engine import Marked
from predictors.text_evaluator.evaluation import LENGTH, EngineLost, ItemError
from predictors.text_evaluator.predictor import TextEvaluator
from predictors.text_evaluator.reading import Reading
from predictors.text_evaluator.settings import TextEvaluatorSettings
from tests.support.gemma import tokenizer
from tests.support.rule import rule

CACHED, GENERATED = 4, 10
"""Tokens that every text is said to have taken."""


class RuleEngine:
    def __init__(self, settings: TextEvaluatorSettings) -> None:
        self._seconds = float(os.environ.get("RULE_SECONDS", "0"))
        self._log = Path(log) if (log := os.environ.get("RULE_LOG")) else None
        self._tokenizer = tokenizer()

    def load(self, progress: Callable[[str], None]) -> None:
        progress("a rule")

    async def mark(self, reading: Reading, *, greedy: bool = False, patient: bool = False) -> Marked:
        text = self._tokenizer.decode(reading.ids, skip_special_tokens=True)
        answer = text.rsplit('":\n', 1)[1].removesuffix("\nmodel")
        self._note(f"begin {answer}")
        try:
            await asyncio.sleep(60 if answer == "!wait" else self._seconds)
        except asyncio.CancelledError:
            self._note(f"cancelled {answer}")
            raise
        if answer.startswith("!boom"):
            raise RuntimeError(f"secret detail of the engine: {answer}")
        match answer:
            case "!length":
                return Marked(ItemError("length", LENGTH), len(reading.ids), CACHED, GENERATED)
            case "!die":
                raise EngineLost
        return Marked(rule(answer), len(reading.ids), CACHED, GENERATED)

    def _note(self, what: str) -> None:
        if self._log:
            with self._log.open("a") as log:
                log.write(f"{what}\n")

    def description(self) -> Mapping[str, str]:
        return {"engine": "rule", "device": "cpu", "dtype": "none", "checksum": ""}

    def gpu(self) -> Mapping[str, Any] | None:
        return None

    def close(self) -> None:
        pass


if __name__ == "__main__":
    main(TextEvaluatorSettings, lambda settings: TextEvaluator(settings, RuleEngine))
