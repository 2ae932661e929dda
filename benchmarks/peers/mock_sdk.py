"""gpt4_nano's mock on the KServe SDK as its documentation has it: one call of the model a request."""

from __future__ import annotations

import asyncio
from typing import Any

import kserve
from kserve import InferOutput, InferRequest, InferResponse

from predictors.gpt4_nano.backends.mock import Mock
from predictors.gpt4_nano.backends.rows import Completion, row_of


class Nobody:
    def piece(self, row: int, text: str) -> None:
        """Nobody listens."""

    def gone(self, row: int) -> bool:  # noqa: ARG002
        return False


class Model(kserve.Model):
    def __init__(self) -> None:
        super().__init__("gpt4_nano")
        self._mock = Mock()
        self.ready = True

    async def predict(self, payload: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        assert isinstance(payload, InferRequest)
        rows = [row_of({"prompt": value}) for value in payload.inputs[0].as_numpy().ravel().tolist()]
        outcomes = await asyncio.get_running_loop().run_in_executor(None, self._mock.generate, rows, Nobody())
        texts = [outcome.response for outcome in outcomes if isinstance(outcome, Completion)]
        output = InferOutput("response", [len(texts), 1], "BYTES", texts)
        return InferResponse(response_id=payload.id or "x", model_name="gpt4_nano", infer_outputs=[output])


if __name__ == "__main__":
    kserve.ModelServer(workers=1, enable_grpc=False).start([Model()])
