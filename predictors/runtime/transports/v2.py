"""Open Inference Protocol v2 over REST: JSON tensors, and the binary tensor extension both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from predictors.runtime import tensors
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import Malformed
from predictors.runtime.tensors import TensorSpec, malformed
from predictors.runtime.transports.http import Answer, Request, dump, load_object, number, require_json

_JSON_LENGTH = b"inference-header-content-length"


class V2:
    def __init__(self, dataplane: DataPlane[Any, Any]) -> None:
        self._dataplane = dataplane
        predictor = dataplane.predictor
        self._name = predictor.name
        self._every_output = [(spec, False) for spec in predictor.outputs]

    async def infer(self, request: Request) -> Answer:
        self._dataplane.check_accepting()
        document, binary = _split(request)
        inputs = _objects(document, "inputs", required=True)
        rows = read_inputs(self._dataplane, [_tensor(entry, i, binary) for i, entry in enumerate(inputs)])
        if binary.left:
            raise Malformed(f"{binary.left} bytes of binary data belong to no input.")
        wanted = self._wanted(document)
        request_id = document.get("id", "")
        if not isinstance(request_id, str):
            raise malformed("id", "must be a string")
        items = self._dataplane.parse(rows, row_place)
        results = await self._dataplane.infer_all(items, row_place)
        columns = columns_of(self._dataplane, results)
        return self._answer(request_id or request.id, columns, wanted)

    def _wanted(self, document: dict[str, Any]) -> list[tuple[TensorSpec, bool]]:
        """The outputs to send, each with whether as binary data; all of them when none is named."""
        if "outputs" not in document and "parameters" not in document:
            return self._every_output
        parameters = document.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise malformed("parameters", "must be an object")
        default = parameters.get("binary_data_output", False) is True
        wanted = []
        entries = _objects(document, "outputs", required=False)
        specs = wanted_outputs(self._dataplane, [entry.get("name") for entry in entries])
        for i, (spec, entry) in enumerate(zip(specs, entries, strict=True)):
            options = entry.get("parameters") or {}
            if not isinstance(options, dict):
                raise malformed(f"outputs[{i}].parameters", "must be an object")
            wanted.append((spec, options.get("binary_data", default) is True))
        return wanted or [(spec, default) for spec, _ in self._every_output]

    def _answer(
        self, request_id: str, columns: Mapping[str, list[Any]], wanted: list[tuple[TensorSpec, bool]]
    ) -> Answer:
        outputs, chunks = [], []
        for spec, binary in wanted:
            column = columns[spec.name]
            output: dict[str, Any] = {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": spec.shape_of(len(column)),
            }
            if binary:
                chunks.append(raw_output(spec, column))
                output["parameters"] = {"binary_data_size": len(chunks[-1])}
            else:
                output["data"] = column if not spec.item else _flat(spec, column)
            outputs.append(output)
        head = dump({"model_name": self._name, "id": request_id, "outputs": outputs})
        if not chunks:
            return Answer(200, head)
        length = ((_JSON_LENGTH, str(len(head)).encode()),)
        return Answer(200, head + b"".join(chunks), b"application/octet-stream", length)


def row_place(index: int, field: str) -> str:
    return f"inputs.{field}[{index}]"


Tensor = tuple[Any, Any, Any, Any, str]
"""name, datatype, shape, data, field: one input as a transport found it."""


def read_inputs(dataplane: DataPlane[Any, Any], given: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The rows of a request's inputs: one dict of input name -> value an item."""
    specs = dataplane.inputs
    columns: dict[str, list[Any]] = {}
    for name, datatype, shape, data, field in given:
        spec = specs.get(name) if isinstance(name, str) else None
        if spec is None:
            raise malformed(f"{field}.name", f"must be one of {', '.join(specs)}")
        if name in columns:
            raise malformed(f"{field}.name", f"{name} is given twice")
        if isinstance(shape, (list, tuple)) and shape and type(shape[0]) is int and shape[0] >= 0:
            dataplane.check_count(shape[0], field)
        columns[name] = tensors.decode(spec, datatype, shape, data, field)
    for name, spec in specs.items():
        if name not in columns and not spec.optional:
            raise malformed("inputs", f"must include {name}")
    if len(columns) == 1:
        ((name, column),) = columns.items()
        return [{name: value} for value in column]
    if len(set(map(len, columns.values()))) > 1:
        raise malformed("inputs", "must all have the same first dimension")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def wanted_outputs(dataplane: DataPlane[Any, Any], names: Sequence[Any]) -> list[TensorSpec]:
    """The outputs of these names. Raises Malformed for an unknown one and for one asked for twice."""
    specs = dataplane.outputs
    for i, name in enumerate(names):
        if not isinstance(name, str) or name not in specs:
            raise malformed(f"outputs[{i}].name", f"must be one of {', '.join(specs)}")
        if i >= len(specs) or name in names[:i]:
            raise malformed(f"outputs[{i}].name", "is asked for twice")
    return [specs[name] for name in names]


def columns_of(dataplane: DataPlane[Any, Any], results: Sequence[Any]) -> dict[str, list[Any]]:
    rendered = dataplane.render(results)
    return {
        spec.name: [spec.element(fields[spec.name]) for fields in rendered]
        if spec.optional or spec.json
        else [fields[spec.name] for fields in rendered]
        for spec in dataplane.predictor.outputs
    }


def raw_output(spec: TensorSpec, column: list[Any]) -> bytes:
    if spec.datatype == "BYTES":
        return tensors.encode_bytes(column)
    return tensors.encode_numbers(spec, column).tobytes()


class _Binary:
    """The binary data behind the JSON, handed out in the order of the inputs."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: object, field: str) -> bytes:
        if type(size) is not int or not 0 <= size <= self.left:
            raise malformed(
                f"{field}.parameters.binary_data_size", f"must be 0 to {self.left}, the bytes left"
            )
        self._at += size
        return self._data[self._at - size : self._at]


def _split(request: Request) -> tuple[dict[str, Any], _Binary]:
    length = request.headers.get(_JSON_LENGTH)
    if length is None:
        require_json(request.headers)
        return load_object(request.take_body()), _Binary(b"")
    size = number(length)
    if size is None or size > len(request.body):
        raise malformed(_JSON_LENGTH.decode(), "must be the length of the JSON at the body's start")
    body = request.take_body()
    return load_object(body[:size]), _Binary(body[size:])


def _objects(document: dict[str, Any], key: str, *, required: bool) -> list[dict[str, Any]]:
    entries = document.get(key)
    if entries is None and not required:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise malformed(key, "must be a list of objects")
    return entries


def _tensor(entry: dict[str, Any], index: int, binary: _Binary) -> Tensor:
    field = f"inputs[{index}]"
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise malformed(f"{field}.parameters", "must be an object")
    size = parameters.get("binary_data_size")
    data = entry.get("data") if size is None else binary.take(size, field)
    return (entry.get("name"), entry.get("datatype"), entry.get("shape"), data, field)


def _flat(spec: TensorSpec, column: list[Any]) -> list[Any]:
    return tensors.encode_numbers(spec, column).ravel().tolist()
