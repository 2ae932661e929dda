"""A model for the runtime's tests: upper-cases text, and does what its environment or input tells it.

Run as ``python -m tests.support.toy``. Inputs that start with ``!`` steer it: ``!sleep:0.5`` takes that long,
``!bad`` is an item's own error, ``!boom`` makes the engine raise, ``!nan`` scores NaN.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from predictors.runtime.errors import InvalidValue, LoadError, ServiceError
from predictors.runtime.main import main
from predictors.runtime.predictor import Predictor
from predictors.runtime.settings import RuntimeSettings
from predictors.runtime.tensors import TensorSpec, detail, text


class Toy(Predictor[tuple[str, float], tuple[str, float], tuple[str, float]]):
    name = "toy"
    title = "Toy"
    inputs = (TensorSpec("text", "BYTES"), TensorSpec("factor", "FP32", optional=True))
    outputs = (TensorSpec("upper", "BYTES"), TensorSpec("score", "FP32"))

    def __init__(self, settings: RuntimeSettings | None = None) -> None:
        self.settings = settings
        self.loads = 0

    def load(self, progress: Callable[[str], None]) -> None:
        self.loads += 1
        progress("toy weights")
        if pipe := os.environ.get("TOY_LOAD_PIPE"):
            Path(pipe).read_text()  # until somebody has written to it
        if reason := os.environ.get("TOY_LOAD_ERROR"):
            raise LoadError(reason)

    def self_test(self) -> None:
        if os.environ.get("TOY_SELF_TEST_ERROR"):
            raise LoadError("The self-test gave a wrong answer.")

    def parse(self, fields: Mapping[str, Any]) -> tuple[str, float]:
        for name in fields:
            if name not in ("text", "factor"):
                raise InvalidValue("unknown", details=[detail(name, "is not a field of this model")])
        if "text" not in fields:
            raise InvalidValue("missing", details=[detail("text", "is required")])
        factor = fields.get("factor", 1.0)
        if not isinstance(factor, (int, float)):
            raise InvalidValue("type", details=[detail("factor", "must be a number")])
        return text(fields["text"], "text"), float(factor)

    def run(self, batch: Sequence[tuple[str, float]]) -> Sequence[tuple[str, float] | ServiceError]:
        return [self._one(*work) for work in batch]

    def _one(self, value: str, factor: float) -> tuple[str, float] | ServiceError:
        if value.startswith("!sleep:"):
            time.sleep(float(value.removeprefix("!sleep:")))
        if value == "!bad":
            return InvalidValue("bad", details=[detail("text", "is bad")])
        if value == "!nan":
            return value, float("nan")
        if value == "!boom":
            raise RuntimeError("secret detail of the engine")
        return value.upper(), len(value) * factor

    def render(self, result: tuple[str, float]) -> Mapping[str, Any]:
        return {"upper": result[0], "score": result[1]}

    def description(self) -> Mapping[str, str]:
        return {"engine": "toy", "device": "cpu", "dtype": "none", "checksum": ""}


if __name__ == "__main__":
    main(RuntimeSettings, Toy)
