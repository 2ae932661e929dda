"""What v1 and v2 take and answer, from a model's tensors, in the words of its OpenAPI document.

The two routes are answered in front of FastAPI (app.py), which therefore cannot describe them.
"""

from __future__ import annotations

import math
from typing import Any

from predictors.runtime.predictor import Predictor
from predictors.runtime.tensors import TensorSpec

Json = dict[str, Any]

_ELEMENTS: dict[str, tuple[str, Any]] = {
    "BYTES": ("string", "text"),
    "BOOL": ("boolean", True),
    "FP16": ("number", 0.5),
    "FP32": ("number", 0.5),
    "FP64": ("number", 0.5),
}
_INTEGER = ("integer", 1)


def paths(predictor: Predictor[Any, Any, Any], errors: Json) -> Json:
    """``errors``: responses by status, the same for every route that asks the model."""
    name = predictor.name
    return {
        f"/v1/models/{name}:predict": {"post": _predict(predictor, errors)},
        f"/v2/models/{name}/infer": {"post": _infer(predictor, errors)},
    }


def _predict(predictor: Predictor[Any, Any, Any], errors: Json) -> Json:
    fields = _object({spec.name: _value(spec) for spec in predictor.inputs}, _needed(predictor.inputs))
    fields["additionalProperties"] = False
    first = predictor.inputs[0]
    # A model that needs one input alone takes its value bare as well.
    bare = _needed(predictor.inputs) in ([], [first.name])
    instance = {"anyOf": [_value(first), fields]} if bare else fields
    prediction = _object({spec.name: _value(spec) for spec in predictor.outputs}, _needed(predictor.outputs))
    return _operation(
        "Predict (KServe v1)",
        _object({"instances": {"type": "array", "minItems": 1, "items": instance}}, ["instances"]),
        {"instances": [{spec.name: _row(spec) for spec in predictor.inputs if not spec.optional}]},
        _object({"predictions": {"type": "array", "items": prediction}}, ["predictions"]),
        errors,
    )


def _infer(predictor: Predictor[Any, Any, Any], errors: Json) -> Json:
    text = {"type": "string"}
    request = {
        "id": text,
        "parameters": {"type": "object"},
        "inputs": {
            "type": "array",
            "items": {"anyOf": [_tensor(spec) for spec in predictor.inputs]},
            "minItems": len(_needed(predictor.inputs)),
            "maxItems": len(predictor.inputs),
        },
        "outputs": {
            "type": "array",
            "items": _object({"name": {"enum": [spec.name for spec in predictor.outputs]}}, ["name"]),
        },
    }
    answer = {
        "id": text,
        "model_name": {"const": predictor.name},
        "outputs": {"type": "array", "items": {"anyOf": [_tensor(spec) for spec in predictor.outputs]}},
    }
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": [1, *spec.item],
            "data": [_element(spec)[1]] * math.prod(spec.item),
        }
        for spec in predictor.inputs
        if not spec.optional
    ]
    return _operation(
        "Infer (Open Inference Protocol v2)",
        _object(request, ["inputs"]),
        {"inputs": inputs},
        _object(answer, ["model_name", "outputs"]),
        errors,
    )


def _operation(summary: str, request: Json, example: Json, answer: Json, errors: Json) -> Json:
    return {
        "summary": summary,
        "tags": ["inference"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request, "example": example}},
        },
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
            **errors,
        },
    }


def _tensor(spec: TensorSpec) -> Json:
    integers = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    fields = {
        "name": {"const": spec.name},
        "datatype": {"const": spec.datatype},
        "shape": integers | {"examples": [[1, *spec.item]]},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    }
    return _object(fields, ["name", "datatype", "shape", "data"])


def _value(spec: TensorSpec) -> Json:
    """One item's value in a v1 instance or prediction."""
    if spec.json:
        return {}
    schema: Json = {"type": _element(spec)[0]}
    for size in reversed(spec.item):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    return schema


def _row(spec: TensorSpec) -> Any:
    row: Any = _element(spec)[1]
    for size in reversed(spec.item):
        row = [row] * size
    return row


def _element(spec: TensorSpec) -> tuple[str, Any]:
    """The JSON type of an element, and one to show."""
    return _ELEMENTS.get(spec.datatype, _INTEGER)


def _needed(specs: tuple[TensorSpec, ...]) -> list[str]:
    return [spec.name for spec in specs if not spec.optional]


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required}
