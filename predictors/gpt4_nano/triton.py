"""Triton over gRPC: one row in, its completion or its pieces out, Triton's errors as ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc
import numpy as np
from grpc import aio

from predictors.gpt4_nano import protocol
from predictors.gpt4_nano.backends.rows import Completion, Row
from predictors.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidValue,
    Overloaded,
    ServiceError,
    Unavailable,
)
from predictors.runtime.tensors import encode_bytes

MODEL = "gpt4_nano"
STREAM_MODEL = "gpt4_nano_stream"

_NO_SEED = -1
_LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
# Triton comes back in seconds; gRPC's own pauses would grow to two minutes.
_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000)]


class Triton:
    """To be made and used on one event loop."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = aio.insecure_channel(address, options=[*_LIMITS, *_RECONNECT])
        self._pb = pb = protocol.messages()
        self._ready = self._channel.unary_unary(
            f"{protocol.SERVICE}ModelReady",
            request_serializer=pb.ModelReadyRequest.SerializeToString,
            response_deserializer=pb.ModelReadyResponse.FromString,
        )
        self._infer = self._channel.unary_unary(
            f"{protocol.SERVICE}ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        self._stream = self._channel.stream_stream(
            f"{protocol.SERVICE}ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=protocol.stream_response().FromString,
        )

    async def ready(self, within: float = 2.0) -> bool:
        """Whether Triton has both models ready."""
        try:
            for model in (MODEL, STREAM_MODEL):
                answer = await self._ready(self._pb.ModelReadyRequest(name=model), timeout=within)
                if not answer.ready:
                    return False
        except aio.AioRpcError:
            return False
        return True

    async def infer(self, row: Row, within: float) -> Completion:
        """Raises ServiceError. Cancelling it cancels the request inside Triton."""
        try:
            answer = await self._infer(self._request(MODEL, row, within), timeout=within)
        except aio.AioRpcError as error:
            raise error_of(error.code(), error.details() or "") from None
        return _completion(answer)

    async def stream(self, row: Row, within: float) -> AsyncGenerator[Completion, None]:
        """The response's pieces; the last one has the finish_reason. Raises ServiceError."""
        call = self._stream(timeout=within)
        try:
            await call.write(self._request(STREAM_MODEL, row, within))
            await call.done_writing()
            async for message in call:
                if message.error_message:
                    raise error_of(None, message.error_message)
                if message.infer_response.outputs:
                    yield _completion(message.infer_response)
        except aio.AioRpcError as error:
            raise error_of(error.code(), error.details() or "") from None
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()

    def _request(self, model: str, row: Row, within: float) -> Any:
        # Every input, every time: Triton puts only requests with the same inputs into one batch.
        request = self._pb.ModelInferRequest(model_name=model, id=row.request_id)
        request.parameters["timeout"].int64_param = max(1, int(within * 1e6))
        for name, datatype, raw, count in (
            ("prompt", "BYTES", encode_bytes([row.prompt]), 1),
            ("max_tokens", "INT32", np.int32(row.max_tokens).tobytes(), 1),
            ("temperature", "FP32", np.float32(row.temperature).tobytes(), 1),
            ("top_p", "FP32", np.float32(row.top_p).tobytes(), 1),
            ("stop", "BYTES", encode_bytes(row.stop or [""]), max(1, len(row.stop))),
            ("seed", "INT64", np.int64(_NO_SEED if row.seed is None else row.seed).tobytes(), 1),
            ("request_id", "BYTES", encode_bytes([row.request_id]), 1),
        ):
            request.inputs.add(name=name, datatype=datatype, shape=[1, count])
            request.raw_input_contents.append(raw)
        return request


def error_of(code: grpc.StatusCode | None, message: str) -> ServiceError:
    """Triton's refusal as ours. ``code`` is None in a stream, where the model's own errors begin with it."""
    codes = grpc.StatusCode
    named = {"INVALID_ARG": codes.INVALID_ARGUMENT, "UNAVAILABLE": codes.UNAVAILABLE}
    head, _, rest = message.partition(": ")
    if code is None and head in named:
        code, message = named[head], rest
    if "maximum queue size" in message:
        return Overloaded("The model is overloaded; try again later.", retry_after=1)
    if code is codes.DEADLINE_EXCEEDED or "timeout expired" in message.lower():
        return DeadlineExceeded("The request was not answered before its deadline.")
    if code is codes.INVALID_ARGUMENT:
        # Rows are checked before they are sent: here our limits and the model's are not the same.
        return InvalidValue(_sentence(message))
    if code in {codes.UNAVAILABLE, codes.CANCELLED, codes.NOT_FOUND, codes.RESOURCE_EXHAUSTED}:
        return Unavailable("The model's server cannot answer now.", retry_after=1)
    return Internal("The model failed on this input.")


def _sentence(message: str) -> str:
    return message if message.endswith(".") else f"{message}."


def _completion(answer: Any) -> Completion:
    raw = {o.name: data for o, data in zip(answer.outputs, answer.raw_output_contents, strict=True)}

    def text(name: str) -> str:
        return raw[name][4:].decode()

    def number(name: str) -> int:
        return int.from_bytes(raw[name], "little", signed=True)

    return Completion(
        text("response"),
        number("tokens_used"),
        number("prompt_tokens"),
        text("finish_reason"),
        text("model"),
    )
