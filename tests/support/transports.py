"""Every way into a predictor behind one call: items in, outputs or a Refusal out."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc

from predictors.runtime.tensors import DTYPES, TensorSpec, encode_bytes

Items = Sequence[dict[str, Any]]
Outputs = list[dict[str, Any]]


class Refusal(Exception):
    """What a caller was told instead of an answer: status or gRPC code, and the body."""

    def __init__(self, status: int | str, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body

    @property
    def code(self) -> str:
        return self.body["code"]

    @property
    def fields(self) -> list[str]:
        return [detail["field"] for detail in self.body["details"]]


@dataclass
class Target:
    """One model at one address."""

    model: str
    inputs: tuple[TensorSpec, ...]
    http: httpx.Client
    grpc: grpc.Channel
    metadata: tuple[tuple[str, str], ...] = ()


def v1(target: Target, items: Items) -> Outputs:
    response = target.http.post(f"/v1/models/{target.model}:predict", json={"instances": list(items)})
    return _json(response)["predictions"]


def v2_json(target: Target, items: Items) -> Outputs:
    inputs = [
        {"name": spec.name, "datatype": spec.datatype, "shape": [len(items)], "data": column}
        for spec, column in _columns(target, items)
    ]
    return _rows(_json(target.http.post(_v2(target), json={"inputs": inputs}))["outputs"])


def v2_nested(target: Target, items: Items) -> Outputs:
    """[N, 1] with rows as lists, and a content type with parameters."""
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": [len(items), 1],
            "data": [[v] for v in column],
        }
        for spec, column in _columns(target, items)
    ]
    body = json.dumps({"inputs": inputs})
    headers = {"content-type": "application/json; charset=utf-8"}
    return _rows(_json(target.http.post(_v2(target), content=body, headers=headers))["outputs"])


def v2_binary(target: Target, items: Items) -> Outputs:
    inputs, chunks = [], []
    for spec, column in _columns(target, items):
        chunks.append(_raw(spec, column))
        inputs.append(
            {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": [len(items)],
                "parameters": {"binary_data_size": len(chunks[-1])},
            }
        )
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    response = target.http.post(_v2(target), content=head + b"".join(chunks), headers=headers)
    if response.status_code != 200:
        raise Refusal(response.status_code, response.json())
    length = int(response.headers["inference-header-content-length"])
    at, outputs = length, json.loads(response.content[:length])["outputs"]
    for output in outputs:
        size = output["parameters"]["binary_data_size"]
        output["data"] = _unraw(output["datatype"], response.content[at : at + size])
        at += size
    assert at == len(response.content)
    return _rows(outputs)


def grpc_typed(target: Target, items: Items) -> Outputs:
    request = pb.ModelInferRequest(model_name=target.model)
    for spec, column in _columns(target, items):
        tensor = request.inputs.add(name=spec.name, datatype=spec.datatype, shape=[len(items)])
        if spec.datatype == "BYTES":
            tensor.contents.bytes_contents.extend(value.encode() for value in column)
        else:
            getattr(tensor.contents, _TYPED[spec.datatype]).extend(column)
    return _grpc(target, request)


def grpc_raw(target: Target, items: Items) -> Outputs:
    request = pb.ModelInferRequest(model_name=target.model)
    for spec, column in _columns(target, items):
        request.inputs.add(name=spec.name, datatype=spec.datatype, shape=[len(items), 1])
        request.raw_input_contents.append(_raw(spec, column))
    return _grpc(target, request)


TRANSPORTS: dict[str, Callable[[Target, Items], Outputs]] = {
    "v1": v1,
    "v2 JSON": v2_json,
    "v2 JSON, [N,1]": v2_nested,
    "v2 binary": v2_binary,
    "gRPC typed": grpc_typed,
    "gRPC raw": grpc_raw,
}


_TYPED = {
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
}


def refusal(error: grpc.RpcError) -> Refusal:
    assert isinstance(error, grpc.Call)
    trailing: dict[str, str] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]
    body = json.loads(trailing.get("quintet-error", "{}"))  # the gateway's own refusals have none
    return Refusal(error.code().name, body)


def _grpc(target: Target, request: pb.ModelInferRequest) -> Outputs:
    stub = pb_grpc.GRPCInferenceServiceStub(target.grpc)
    try:
        response = stub.ModelInfer(request, timeout=30, metadata=target.metadata)
    except grpc.RpcError as error:
        raise refusal(error) from None
    outputs = []
    for i, output in enumerate(response.outputs):
        if request.raw_input_contents:
            data = _unraw(output.datatype, response.raw_output_contents[i])
        elif output.datatype == "BYTES":
            data = [value.decode() for value in output.contents.bytes_contents]
        else:
            data = list(getattr(output.contents, _TYPED[output.datatype]))
        outputs.append({"name": output.name, "data": data})
    return _rows(outputs)


def _v2(target: Target) -> str:
    return f"/v2/models/{target.model}/infer"


def _columns(target: Target, items: Items) -> list[tuple[TensorSpec, list[Any]]]:
    """The inputs the items have; of no items, those that must be there."""
    given = [s for s in target.inputs if any(s.name in item for item in items) or not (items or s.optional)]
    return [(spec, [item.get(spec.name, spec.empty) for item in items]) for spec in given]


def _rows(outputs: list[dict[str, Any]]) -> Outputs:
    names = [output["name"] for output in outputs]
    return [dict(zip(names, row, strict=True)) for row in zip(*(o["data"] for o in outputs), strict=True)]


def _json(response: httpx.Response) -> Any:
    if response.status_code != 200:
        raise Refusal(response.status_code, response.json())
    return response.json()


def _raw(spec: TensorSpec, column: list[Any]) -> bytes:
    if spec.datatype == "BYTES":
        return encode_bytes(column)
    return np.array(column, DTYPES[spec.datatype]).tobytes()


def _unraw(datatype: str, data: bytes) -> list[Any]:
    if datatype != "BYTES":
        return np.frombuffer(data, DTYPES[datatype]).tolist()
    values, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        values.append(data[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return values
