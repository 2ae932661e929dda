"""The model inside Triton, with a stand-in for Triton's own module, which exists only there."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from predictors.gpt4_nano.backends.mock import Mock
from predictors.gpt4_nano.backends.model import StreamingModel, TritonPythonModel
from predictors.gpt4_nano.backends.rows import Audience, Outcome, Row


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> np.ndarray:
        return self.array


class Response:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: Any = None) -> None:
        self.tensors = {tensor.name: tensor.array for tensor in output_tensors}
        self.error = error


class Error:
    INVALID_ARG, INTERNAL, UNAVAILABLE, CANCELLED = range(4)

    def __init__(self, message: str, code: int) -> None:
        self.message, self.code = message, code


class Sender:
    def __init__(self, *, gone: bool = False) -> None:
        self.sent: list[Response] = []
        self.final = False
        self.gone = gone

    def send(self, response: Response, flags: int = 0) -> None:
        assert not self.final
        self.sent.append(response)
        self.final = bool(flags)

    def is_cancelled(self) -> bool:
        return self.gone


class Request:
    def __init__(self, *, cancelled: bool = False, **inputs: list[Any]) -> None:
        types = {"max_tokens": np.int32, "temperature": np.float32, "seed": np.int64}
        self.inputs = {
            name: Tensor(name, np.array(rows, dtype=types.get(name, object)).reshape(len(rows), -1))
            for name, rows in inputs.items()
        }
        self.cancelled = cancelled
        self.sender = Sender()

    def is_cancelled(self) -> bool:
        return self.cancelled

    def get_response_sender(self) -> Sender:
        return self.sender


@pytest.fixture(autouse=True)
def triton(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(
        Tensor=Tensor,
        InferenceResponse=Response,
        TritonError=Error,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
        get_input_tensor_by_name=lambda request, name: request.inputs.get(name),
        Logger=SimpleNamespace(log_error=lambda text: None),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)  # type: ignore[arg-type]
    for name in ("BACKEND", "MOCK_BATCH_SECONDS"):
        monkeypatch.delenv(f"QUINTET_{name}", raising=False)


def started(kind: type[Any] = TritonPythonModel) -> Any:
    model = kind()
    config = {"parameters": {"backend": {"string_value": "mock"}}}
    model.initialize(
        {"model_config": json.dumps(config), "model_repository": str(Path("/nowhere")), "model_version": "1"}
    )
    return model


class Counting(Mock):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def generate(self, rows: Sequence[Row], audience: Audience) -> Sequence[Outcome]:
        self.batches.append(len(rows))
        return super().generate(rows, audience)


def test_rows_of_a_request_stay_rows() -> None:
    (response,) = started().execute([Request(prompt=[b"python", b"triton"], max_tokens=[3, 200])])
    assert response.tensors["response"].shape == (2, 1)
    assert response.tensors["tokens_used"].tolist() == [[3], [40]]
    assert response.tensors["response"][1, 0].startswith(b"Triton Inference Server")


def test_a_batch_is_one_call_of_the_backend() -> None:
    model = started()
    model.backend = Counting()
    model.execute([Request(prompt=[b"a"]), Request(prompt=[b"b", b"c"]), Request(prompt=[b"d"])])
    assert model.backend.batches == [4]


def test_a_bad_row_fails_its_request_alone() -> None:
    good, bad, other = started().execute(
        [
            Request(prompt=[b"python"]),
            Request(prompt=[b"x", b"y"], max_tokens=[5, -1]),
            Request(prompt=[b"triton"]),
        ]
    )
    assert good.error is None
    assert other.error is None
    assert bad.error.code == Error.INVALID_ARG
    assert bad.error.message.startswith("max_tokens[1] must")


def test_a_request_whose_caller_has_gone_is_not_computed() -> None:
    model = started()
    model.backend = Counting()
    gone, here = model.execute([Request(cancelled=True, prompt=[b"a"]), Request(prompt=[b"b"])])
    assert gone.error.code == Error.CANCELLED
    assert here.error is None
    assert model.backend.batches == [1]


def test_a_backend_that_raises_fails_the_batch_without_saying_how() -> None:
    class Broken(Mock):
        def generate(self, rows: Sequence[Row], audience: Audience) -> Sequence[Outcome]:
            raise RuntimeError("secret")

    model = started()
    model.backend = Broken()
    (response,) = model.execute([Request(prompt=[b"a"])])
    assert response.error.code == Error.INTERNAL
    assert "secret" not in response.error.message


def test_a_warm_up_calls_nobody_else() -> None:
    class Remote(Mock):
        remote = True

        def generate(self, rows: Sequence[Row], audience: Audience) -> Sequence[Outcome]:
            raise AssertionError("called")

    model = started()
    model.backend = Remote()
    (response,) = model.execute([Request(prompt=[b"a"], request_id=[b"warm-up"])])
    assert response.error is None


def test_a_stream_is_pieces_and_an_end_with_the_counts() -> None:
    request, bad = Request(prompt=[b"triton"]), Request(prompt=[b""])
    started(StreamingModel).execute([request, bad])
    *pieces, last = request.sender.sent
    text = b"".join(piece.tensors["response"][0, 0] for piece in pieces)
    assert text.startswith(b"Triton Inference Server is")
    assert last.tensors["finish_reason"].tolist() == [[b"stop"]]
    assert request.sender.final
    (refusal,) = bad.sender.sent
    assert refusal.error.code == Error.INVALID_ARG
    assert refusal.error.message.startswith("INVALID_ARG: prompt must"), "streams have texts alone"
    assert bad.sender.final


def test_a_stream_whose_listener_has_gone_is_told_no_pieces() -> None:
    request = Request(prompt=[b"triton"])
    request.sender.gone = True
    started(StreamingModel).execute([request])
    (only,) = request.sender.sent
    assert only.error.code == Error.CANCELLED
