"""The messages of the Open Inference Protocol over gRPC, and Triton's own addition for streams.

The SDK has the former, but importing it takes longer than all else that the consumer service needs to start;
so the one file with the messages is loaded by itself.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "/inference.GRPCInferenceService/"
_FILE = "protocol/grpc/grpc_predict_v2_pb2.py"


@cache
def messages() -> Any:
    """The SDK's module ``grpc_predict_v2_pb2``."""
    found = importlib.util.find_spec("kserve")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / _FILE
    spec = importlib.util.spec_from_file_location("quintet_grpc_predict_v2_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def stream_response() -> Any:
    """ModelStreamInferResponse, which the SDK's copy of the protocol lacks."""
    file = descriptor_pb2.FileDescriptorProto(
        name="quintet_triton_stream.proto",
        package="quintet.triton",
        syntax="proto3",
        dependency=[messages().DESCRIPTOR.name],
    )
    message = file.message_type.add(name="ModelStreamInferResponse")
    kinds = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="error_message", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    message.field.add(
        name="infer_response",
        number=2,
        type=kinds.TYPE_MESSAGE,
        type_name=".inference.ModelInferResponse",
        label=kinds.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("quintet.triton.ModelStreamInferResponse")
    )
