"""config.pbtxt, the code inside Triton and the transformer say the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory, text_format

from predictors.gpt4_nano.backends import model
from predictors.gpt4_nano.backends.rows import WARM_UP
from predictors.gpt4_nano.predictor import Gpt4Nano
from tests.support.triton import REPOSITORY

MODELS = ("gpt4_nano", "gpt4_nano_stream")
DATATYPES = {"BYTES": "TYPE_STRING", "INT32": "TYPE_INT32", "FP32": "TYPE_FP32", "INT64": "TYPE_INT64"}


@pytest.fixture(scope="module")
def schema() -> Any:
    """Triton's own ModelConfig message, out of tritonclient without importing the rest of it.

    Its gRPC messages have the names of the SDK's and could not live in one process with them.
    """
    spec = importlib.util.find_spec("tritonclient")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    file = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    pool = descriptor_pool.DescriptorPool()
    found: list[bytes] = []

    class Catching:
        """In the place of the default pool: takes what the generated module would register."""

        def AddSerializedFile(self, serialized: bytes) -> Any:  # noqa: N802
            found.append(serialized)
            raise StopIteration

    source = file.read_text()
    module = ModuleType("model_config_pb2")
    default, descriptor_pool.Default = descriptor_pool.Default, Catching  # type: ignore[assignment]
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)
    except StopIteration:
        pass
    finally:
        descriptor_pool.Default = default
    pool.AddSerializedFile(found[0])
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


@pytest.fixture(params=MODELS)
def config(request: pytest.FixtureRequest, schema: Any) -> Any:
    text = (REPOSITORY / request.param / "config.pbtxt").read_text()
    return text_format.Parse(text, schema())


def datatype(tensor: Any) -> str:
    return tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name


def test_it_is_as_published(config: Any) -> None:
    assert config.backend == "python"
    assert config.max_batch_size == 8
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, 2)  # KIND_CPU
    published = {
        "prompt": ("TYPE_STRING", False),
        "max_tokens": ("TYPE_INT32", True),
        "temperature": ("TYPE_FP32", True),
    }
    found = {tensor.name: (datatype(tensor), tensor.optional) for tensor in config.input}
    assert published.items() <= found.items()
    outputs = {tensor.name: (datatype(tensor), list(tensor.dims)) for tensor in config.output}
    published_outputs = {"response": ("TYPE_STRING", [1]), "tokens_used": ("TYPE_INT32", [1])}
    assert published_outputs.items() <= outputs.items()


def test_a_model_s_folder_has_its_name(schema: Any) -> None:
    for name in MODELS:
        assert text_format.Parse((REPOSITORY / name / "config.pbtxt").read_text(), schema()).name == name


def test_the_code_reads_and_writes_the_config_s_tensors(config: Any) -> None:
    assert tuple(tensor.name for tensor in config.input) == model.INPUTS
    assert [tensor.name for tensor in config.output] == list(model.OUTPUTS)
    kinds = {"TYPE_STRING": "O", "TYPE_INT32": "i"}
    assert {t.name: kinds[datatype(t)] for t in config.output} == {
        name: dtype.kind for name, dtype in model.OUTPUTS.items()
    }


def test_the_transformer_has_the_same_tensors(config: Any) -> None:
    assert [(t.name, datatype(t), t.optional) for t in config.input] == [
        (spec.name, DATATYPES[spec.datatype], spec.optional) for spec in Gpt4Nano.inputs
    ]
    assert [(t.name, datatype(t)) for t in config.output] == [
        (spec.name, DATATYPES[spec.datatype]) for spec in Gpt4Nano.outputs
    ]


def test_the_queue_is_bounded_and_refuses(config: Any) -> None:
    policy = config.dynamic_batching.default_queue_policy
    assert policy.timeout_action == 0  # REJECT
    assert policy.max_queue_size > 0
    assert policy.default_timeout_microseconds > 0


def test_it_warms_up(config: Any) -> None:
    (sample,) = config.model_warmup
    folder = REPOSITORY / config.name / "warmup"
    found = {name: (folder / entry.input_data_file).read_bytes() for name, entry in sample.inputs.items()}
    texts = {"prompt": b"What is Triton?", "request_id": WARM_UP.encode()}
    assert found == {
        **{name: len(text).to_bytes(4, "little") + text for name, text in texts.items()},
        "max_tokens": (2).to_bytes(4, "little"),
    }


def test_only_the_stream_is_decoupled(config: Any) -> None:
    assert config.model_transaction_policy.decoupled is (config.name == "gpt4_nano_stream")
