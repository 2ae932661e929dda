"""The empty model on our runtime: one string in, the same string out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from predictors.runtime.main import main
from predictors.runtime.predictor import Predictor
from predictors.runtime.settings import RuntimeSettings
from predictors.runtime.tensors import TensorSpec, text


class Empty(Predictor[str, str, str]):
    name = "empty"
    title = "Empty"
    inputs = (TensorSpec("text", "BYTES"),)
    outputs = (TensorSpec("text", "BYTES"),)

    def __init__(self, settings: RuntimeSettings) -> None:
        self.settings = settings

    def load(self, progress: Callable[[str], None]) -> None:
        progress("nothing")

    def self_test(self) -> None:
        pass

    def parse(self, fields: Mapping[str, Any]) -> str:
        return text(fields["text"], "text")

    def run(self, batch: Sequence[str]) -> Sequence[str]:
        return batch

    def render(self, result: str) -> Mapping[str, Any]:
        return {"text": result}


if __name__ == "__main__":
    main(RuntimeSettings, Empty)
