"""What gRPC callers get wrong: the code, and the same body as REST in the trailing metadata."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc

from tests.support.transports import Target, refusal


def request(**changes: object) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="toy")
    entry = message.inputs.add(name="text", datatype="BYTES", shape=[1])
    entry.contents.bytes_contents.append(b"a")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def _input(**changes: object) -> pb.ModelInferRequest:
    message = request()
    for name, value in changes.items():
        if name == "shape":
            message.inputs[0].ClearField("shape")
            message.inputs[0].shape.extend(value)  # type: ignore[arg-type]
        else:
            setattr(message.inputs[0], name, value)
    return message


def _with(change: Callable[[pb.ModelInferRequest], object]) -> pb.ModelInferRequest:
    message = request()
    change(message)
    return message


# case -> request, gRPC code, code of the body, field
CASES: dict[str, tuple[pb.ModelInferRequest, str, str, str]] = {
    "another model": (request(model_name="other"), "NOT_FOUND", "not_found", ""),
    "no model": (request(model_name=""), "NOT_FOUND", "not_found", ""),
    "no inputs": (pb.ModelInferRequest(model_name="toy"), "INVALID_ARGUMENT", "malformed", "inputs"),
    "an unknown input": (_input(name="txt"), "INVALID_ARGUMENT", "malformed", "inputs[0].name"),
    "a wrong datatype": (_input(datatype="FP32"), "INVALID_ARGUMENT", "malformed", "inputs[0].datatype"),
    "an unknown datatype": (_input(datatype="TEXT"), "INVALID_ARGUMENT", "malformed", "inputs[0].datatype"),
    "shape and data differ": (_input(shape=[2]), "INVALID_ARGUMENT", "malformed", "inputs[0].data"),
    "a shape of the wrong rank": (
        _input(shape=[1, 1, 1]),
        "INVALID_ARGUMENT",
        "malformed",
        "inputs[0].shape",
    ),
    "a negative shape": (_input(shape=[-1]), "INVALID_ARGUMENT", "malformed", "inputs[0].shape"),
    "an unknown output": (
        _with(lambda m: m.outputs.add(name="lower")),
        "INVALID_ARGUMENT",
        "malformed",
        "outputs[0].name",
    ),
    "an output asked for twice": (
        _with(lambda m: m.outputs.extend([m.InferRequestedOutputTensor(name="upper")] * 2)),
        "INVALID_ARGUMENT",
        "malformed",
        "outputs[1].name",
    ),
    "another version": (request(model_version="2"), "NOT_FOUND", "not_found", ""),
    "typed and raw at once": (
        _with(lambda m: m.raw_input_contents.append(b"\x01\0\0\0a")),
        "INVALID_ARGUMENT",
        "malformed",
        "inputs[0].contents",
    ),
    "more raw contents than inputs": (
        _with(lambda m: m.raw_input_contents.extend([b"", b""])),
        "INVALID_ARGUMENT",
        "malformed",
        "raw_input_contents",
    ),
    "not UTF-8": (
        _with(lambda m: m.inputs[0].contents.bytes_contents.__setitem__(0, b"\xff")),
        "INVALID_ARGUMENT",
        "invalid_value",
        "inputs[0].data[0]",
    ),
    "NaN": (
        _with(
            lambda m: m.inputs.add(
                name="factor",
                datatype="FP32",
                shape=[1],
                contents=pb.InferTensorContents(fp32_contents=[float("nan")]),
            )
        ),
        "INVALID_ARGUMENT",
        "invalid_value",
        "inputs[1].data[0]",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_request_is_refused_with_its_field(toy: Target, case: str) -> None:
    message, grpc_code, code, field = CASES[case]
    with pytest.raises(grpc.RpcError) as caught:
        pb_grpc.GRPCInferenceServiceStub(toy.grpc).ModelInfer(message, timeout=10)
    refused = refusal(caught.value)
    assert (refused.status, refused.code) == (grpc_code, code)
    assert field in refused.fields or not field


def test_a_message_beyond_the_limit_is_refused(toy: Target) -> None:
    message = request()
    message.inputs[0].contents.bytes_contents[0] = b"x" * 3_000_000
    with pytest.raises(grpc.RpcError) as caught:
        pb_grpc.GRPCInferenceServiceStub(toy.grpc).ModelInfer(message, timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]


def test_what_is_beyond_its_callers_deadline_is_not_computed(toy: Target) -> None:
    stub = pb_grpc.GRPCInferenceServiceStub(toy.grpc)

    def batches() -> float:
        text = toy.http.get("/metrics").text
        return float(text.split("quintet_batch_items_count ")[1].split()[0])

    before = batches()
    busy = request()
    busy.inputs[0].contents.bytes_contents[0] = b"!sleep:1"
    running = stub.ModelInfer.future(busy)
    while batches() == before and "quintet_queue_items 0.0" not in toy.http.get("/metrics").text:
        pass  # until the engine has taken it
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request(), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    assert running.result().outputs
    stub.ModelInfer(request())
    assert batches() - before == 2, "the slow one and the last one"


def test_readiness_and_metadata(toy: Target) -> None:
    stub = pb_grpc.GRPCInferenceServiceStub(toy.grpc)
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="toy")).ready
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="toy"))
    assert [tensor.name for tensor in metadata.inputs] == ["text", "factor"]
    assert [tensor.name for tensor in metadata.outputs] == ["upper", "score"]


@pytest.mark.parametrize("verb", ["Load", "Unload"])
def test_repository_control_is_not_served(toy: Target, verb: str) -> None:
    stub = pb_grpc.GRPCInferenceServiceStub(toy.grpc)
    message = getattr(pb, f"RepositoryModel{verb}Request")(model_name="toy")
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, f"RepositoryModel{verb}")(message)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
    assert stub.ServerReady(pb.ServerReadyRequest()).ready


def test_another_model_is_neither_ready_nor_known(toy: Target) -> None:
    stub = pb_grpc.GRPCInferenceServiceStub(toy.grpc)
    for message, method in (
        (pb.ModelReadyRequest(name="other"), stub.ModelReady),
        (pb.ModelMetadataRequest(name="other"), stub.ModelMetadata),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            method(message)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
