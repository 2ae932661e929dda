"""gpt4_nano's mock in MLServer, with its adaptive batching; runs in an environment of its own."""

from __future__ import annotations

# An environment of its own has it, ours has not.
from mlserver import MLModel  # pyright: ignore[reportMissingImports]
from mlserver.codecs import StringCodec  # pyright: ignore[reportMissingImports]
from mlserver.types import InferenceRequest, InferenceResponse  # pyright: ignore[reportMissingImports]

from predictors.gpt4_nano.backends.mock import Mock
from predictors.gpt4_nano.backends.rows import Completion, row_of


class Nobody:
    def piece(self, row: int, text: str) -> None:
        """Nobody listens."""

    def gone(self, row: int) -> bool:  # noqa: ARG002
        return False


class MockModel(MLModel):
    async def load(self) -> bool:
        self._mock = Mock()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = [row_of({"prompt": value}) for value in StringCodec.decode_input(payload.inputs[0])]
        outcomes = self._mock.generate(rows, Nobody())
        texts = [outcome.response for outcome in outcomes if isinstance(outcome, Completion)]
        output = StringCodec.encode_output("response", texts)
        return InferenceResponse(model_name=self.name, outputs=[output])
