"""Open Inference Protocol v2 over gRPC: the SDK's servicer with our ModelInfer and readiness."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from typing import Any, NoReturn

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.servicer import InferenceServicer

from predictors import __version__
from predictors.runtime import tensors
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import NotFound, ServiceError
from predictors.runtime.logging import request_id, request_timings
from predictors.runtime.metrics import Metrics
from predictors.runtime.records import Records
from predictors.runtime.tensors import TensorSpec, malformed
from predictors.runtime.transports.http import internal
from predictors.runtime.transports.ids import accepted_id
from predictors.runtime.transports.v2 import (
    Tensor,
    columns_of,
    raw_output,
    read_inputs,
    row_place,
    wanted_outputs,
)

logger = logging.getLogger(__name__)

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",  # FP16 has no typed form: raw only
    "BYTES": "bytes_contents",
}
_NO_SUCH_MODEL = "This server has no model of that name."
_ROUTE = "/inference.GRPCInferenceService/ModelInfer"


class Servicer(InferenceServicer):
    """ModelInfer is ours: it refuses before ready, never loads, blocks nothing and keeps to the deadline."""

    def __init__(self, dataplane: DataPlane[Any, Any], metrics: Metrics, records: Records, *sdk: Any) -> None:
        super().__init__(*sdk)
        self._model = dataplane
        self._in_flight = 0
        metrics.in_flight.labels("grpc").set_function(lambda: self._in_flight)
        self._records = records

    async def ServerMetadata(self, request, context) -> pb.ServerMetadataResponse:  # noqa: N802, ARG002
        return pb.ServerMetadataResponse(name="quintet", version=__version__)

    async def ServerReady(self, request, context) -> pb.ServerReadyResponse:  # noqa: N802, ARG002
        return pb.ServerReadyResponse(ready=self._model.lifecycle.ready)

    async def ModelReady(self, request, context) -> pb.ModelReadyResponse:  # noqa: N802
        await self._check_name(request.name, context)
        return pb.ModelReadyResponse(ready=self._model.lifecycle.ready)

    async def ModelMetadata(self, request, context) -> pb.ModelMetadataResponse:  # noqa: N802
        await self._check_name(request.name, context)
        return await super().ModelMetadata(request, context)

    async def RepositoryModelLoad(self, request, context) -> NoReturn:  # noqa: N802, ARG002
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "One process serves one model.")
        raise AssertionError("abort raises")

    async def RepositoryModelUnload(self, request, context) -> NoReturn:  # noqa: N802, ARG002
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "One process serves one model.")
        raise AssertionError("abort raises")

    async def ModelInfer(self, request: pb.ModelInferRequest, context) -> pb.ModelInferResponse:  # noqa: N802
        started = time.perf_counter()
        metadata = dict(context.invocation_metadata() or ())
        token = request_id.set(identifier := accepted_id(metadata.get("x-request-id")))
        self._in_flight += 1
        code, size = grpc.StatusCode.CANCELLED, 0
        timings: dict[str, float] = {}
        staged = request_timings.set(timings)
        try:
            self._model.check_key(metadata.get("x-api-key"))
            with self._model.exchange(), self._model.holding(request.ByteSize()):
                response = await self._infer(request, context, identifier)
            code, size = grpc.StatusCode.OK, response.ByteSize()
            return response
        except ServiceError as error:
            code = error.grpc_code
            await self._abort(context, error)
            raise
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("The request failed.")
            error = internal(identifier)
            code = error.grpc_code
            await self._abort(context, error)
            raise
        finally:
            seconds = time.perf_counter() - started
            self._in_flight -= 1
            self._records.add(
                identifier,
                route=_ROUTE,
                transport="grpc",
                method="RPC",
                code=code.name,
                seconds=seconds,
                request_bytes=request.ByteSize(),
                response_bytes=size,
                timings=timings,
            )
            request_timings.reset(staged)
            request_id.reset(token)

    async def _infer(self, request: pb.ModelInferRequest, context, identifier: str) -> pb.ModelInferResponse:
        if request.model_name != self._model.predictor.name or request.model_version:
            raise NotFound(_NO_SUCH_MODEL)
        self._model.check_accepting()
        names = [output.name for output in request.outputs]
        wanted = wanted_outputs(self._model, names) or self._model.predictor.outputs
        rows = read_inputs(self._model, _inputs(request))
        items = self._model.parse(rows, row_place)
        remaining = context.time_remaining()
        timeout = remaining if remaining is not None and math.isfinite(remaining) else None
        results = await self._model.infer_all(items, row_place, timeout)
        columns = columns_of(self._model, results)
        response = pb.ModelInferResponse(model_name=self._model.predictor.name, id=request.id or identifier)
        raw = len(request.raw_input_contents) > 0  # answered in the way that was asked
        for spec in wanted:
            column = columns[spec.name]
            output = response.outputs.add(
                name=spec.name, datatype=spec.datatype, shape=spec.shape_of(len(column))
            )
            if raw:
                response.raw_output_contents.append(raw_output(spec, column))
            else:
                getattr(output.contents, _CONTENTS[spec.datatype]).extend(_typed(spec, column))
        return response

    async def _check_name(self, name: str, context) -> None:
        # The path is one for all models, so a call that was routed wrongly must not be answered.
        if name != self._model.predictor.name:
            await self._abort(context, NotFound(_NO_SUCH_MODEL))

    async def _abort(self, context, error: ServiceError) -> None:
        trailing = [("quintet-error", json.dumps(error.body()))]
        if error.retry_after is not None:
            trailing.append(("retry-after", str(math.ceil(error.retry_after))))
        await context.abort(error.grpc_code, error.message, tuple(trailing))


def _inputs(request: pb.ModelInferRequest) -> list[Tensor]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise malformed("raw_input_contents", f"has {len(raw)} entries for {len(request.inputs)} inputs")
    found: list[Tensor] = []
    for i, entry in enumerate(request.inputs):
        field = f"inputs[{i}]"
        if raw:
            if entry.HasField("contents"):
                raise malformed(f"{field}.contents", "must be empty beside raw_input_contents")
            data: Any = raw[i]
        else:
            attribute = _CONTENTS.get(entry.datatype)
            if attribute is None:
                raise malformed(f"{field}.datatype", "has no typed contents: use raw_input_contents")
            data = list(getattr(entry.contents, attribute))
        found.append((entry.name, entry.datatype, list(entry.shape), data, field))
    return found


def _typed(spec: TensorSpec, column: list[Any]) -> list[Any]:
    if spec.datatype == "BYTES":
        return [value if isinstance(value, bytes) else str(value).encode() for value in column]
    return tensors.encode_numbers(spec, column).ravel().tolist()
