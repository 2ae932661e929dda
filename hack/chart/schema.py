"""values.yaml -> values.schema.json: every key that is not documented is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hack.chart.documented import Field

_TYPES: list[tuple[type, str]] = [
    (bool, "boolean"),  # before int, which it is too
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
]


def schema(fields: Iterable[Field]) -> str:
    fields = tuple(fields)
    definitions = {
        field.definition: _object(field.children)
        for top in fields
        for field in top.walk()
        if field.definition
    }
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the quintet chart",
        "description": "Made from values.yaml by `make chart`.",
        "definitions": definitions,
        **_object(fields),
    }
    return json.dumps(whole, indent=2) + "\n"


def _object(fields: Iterable[Field]) -> dict[str, Any]:
    properties = {field.name: _field(field) for field in fields}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _field(field: Field) -> dict[str, Any]:
    described = {"description": field.text} if field.text else {}
    if field.definition:
        return {**described, "$ref": f"#/definitions/{field.definition}"}
    if field.children:
        return {**described, **_object(field.children)}
    kind = next(name for type_, name in _TYPES if isinstance(field.default, type_))
    closed = {"additionalProperties": False} if kind == "object" else {}
    untyped = {"type": kind} if "enum" not in field.schema else {}
    return {**described, **untyped, **closed, **field.schema}
