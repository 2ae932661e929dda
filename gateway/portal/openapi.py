"""One OpenAPI document of all routes that a caller may use: what predictors said goes in, a document out.

v1 and v2 are the same for every model and are described here; the rest in the predictors' own words, as far
as they fit the gateway's routes: a path that it does not route is not in it, whatever a predictor says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.config import Kind
from gateway.portal.documents import Said
from gateway.routes import Route

Json = dict[str, Any]

_ERROR_REF = {"$ref": "#/components/schemas/Error"}
_SCHEMAS = "#/components/schemas/"
_NAME = re.compile(r"[^A-Za-z0-9._-]")
#: A tensor's element to show, by its datatype.
_SAMPLES: dict[str, Any] = {"BYTES": "text", "BOOL": True, "FP16": 0.5, "FP32": 0.5, "FP64": 0.5}

_ANSWERS = {
    401: "No valid token.",
    403: "The token lacks the scope, or is for another audience.",
    429: "Over a limit; Retry-After says when to come back.",
    503: "The model cannot be reached or is not ready; Retry-After.",
    504: "The model did not answer in time.",
}


def merged(routes: Mapping[str, list[Route]], said: Mapping[str, Said], version: str) -> Json:
    paths: Json = {}
    schemas: Json = {"Error": _error(), "Tensor": _tensor()}
    for name, allowed in routes.items():
        theirs = _operations(said[name].openapi)
        for route in allowed:
            if route.grpc or route.path.endswith(("/docs", "/openapi.json")):
                continue
            path, operation = theirs.get(
                (_shape(route.rewrite or route.path), route.method), (route.path, None)
            )
            if route.rewrite is not None:
                path = route.path
            own = _renamed(operation, name) if operation else _standard(name, route, said[name].metadata)
            paths.setdefault(path, {})[route.method.lower()] = _finished(own, name, route)
        for schema, body in _schemas(said[name].openapi).items():
            schemas[f"{name}.{_NAME.sub('_', schema)}"] = _renamed(body, name)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "quintet",
            "version": version,
            "description": "Every route that this token may use. gRPC: see grpc in /models.",
        },
        "tags": [{"name": name, "description": _title(said[name].openapi)} for name in routes],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operations(document: Json) -> dict[tuple[str, str], tuple[str, Json]]:
    """By the path's shape and the method: the path as it is written there, and what it says."""
    paths = document.get("paths")
    return {
        (_shape(path), method.upper()): (path, operation)
        for path, methods in (paths if isinstance(paths, dict) else {}).items()
        if isinstance(methods, dict)
        for method, operation in methods.items()
        if isinstance(operation, dict)
    }


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def _schemas(document: Json) -> Json:
    components = document.get("components")
    schemas = components.get("schemas") if isinstance(components, dict) else None
    return schemas if isinstance(schemas, dict) else {}


def _title(document: Json) -> str:
    info = document.get("info")
    title = info.get("title") if isinstance(info, dict) else None
    return title if isinstance(title, str) else ""


def _renamed(value: Any, model: str) -> Any:
    """References to schemas point to this model's; two models may use one name for two things."""
    if isinstance(value, list):
        return [_renamed(entry, model) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: f"{_SCHEMAS}{model}.{_NAME.sub('_', entry.removeprefix(_SCHEMAS))}"
        if key == "$ref" and isinstance(entry, str) and entry.startswith(_SCHEMAS)
        else _renamed(entry, model)
        for key, entry in value.items()
    }


def _finished(operation: Json, model: str, route: Route) -> Json:
    done = operation | {"tags": [model]}
    done["operationId"] = _NAME.sub("_", f"{model}.{route.method.lower()}{route.path.replace('/', '.')}")
    done["security"] = [{"token": []}] if route.scope else []
    if route.scope:
        done["x-quintet-scope"] = route.scope
        content = {"application/json": {"schema": _ERROR_REF}}
        ours = {str(status): {"description": what, "content": content} for status, what in _ANSWERS.items()}
        done["responses"] = ours | operation.get("responses", {})
    done["x-quintet-kind"] = str(route.kind)
    return done


# --- what every model answers ---------------------------------------------------------------------


def _standard(model: str, route: Route, metadata: Json) -> Json:
    if route.path.endswith(":predict"):
        body = {"type": "object", "required": ["instances"], "properties": {"instances": {"type": "array"}}}
        return _posting("Predict (KServe v1)", body, {"instances": [_sample(_inputs(metadata)[:1])]})
    if route.path.endswith("/infer"):
        tensors = {"type": "array", "items": {"$ref": f"{_SCHEMAS}Tensor"}}
        body = {"type": "object", "required": ["inputs"], "properties": {"inputs": tensors}}
        return _posting("Infer (Open Inference Protocol v2)", body, {"inputs": _inputs(metadata)})
    summaries = {
        f"/v1/models/{model}": "Whether the model is ready (v1)",
        f"/v2/models/{model}": "The model's tensors (v2)",
        f"/v2/models/{model}/ready": "Whether the model is ready (v2)",
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{([a-z_]+)\}", route.path)
    ]
    kind = "text/event-stream" if route.kind is Kind.STREAM else "application/json"
    operation: Json = {
        "summary": summaries.get(route.path, route.path),
        "responses": {"200": {"description": "The answer.", "content": {kind: {}}}},
    }
    if parameters:
        operation["parameters"] = parameters
    if route.method in ("POST", "PUT", "PATCH"):
        operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return operation


def _posting(summary: str, schema: Json, example: Json) -> Json:
    content = {"application/json": {"schema": schema, "example": example}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "The answer.", "content": {"application/json": {}}}},
    }


def _inputs(metadata: Json) -> list[Json]:
    """One small tensor for each that the model asks for."""
    found: list[Json] = []
    for spec in metadata.get("inputs") or []:
        if isinstance(spec, dict) and isinstance(spec.get("shape"), list):
            shape = [size if isinstance(size, int) and size > 0 else 1 for size in spec["shape"]]
            sample = _SAMPLES.get(str(spec.get("datatype")), 1)
            count = 1
            for size in shape:
                count *= size
            data = [sample] * min(count, 16)
            found.append(
                {"name": spec.get("name"), "shape": shape, "datatype": spec.get("datatype"), "data": data}
            )
    return found


def _sample(inputs: list[Json]) -> Any:
    return inputs[0]["data"][0] if inputs else "text"


def _tensor() -> Json:
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "data": {"type": "array"},
        },
    }


def _error() -> Json:
    detail = {"type": "object", "properties": {"field": {"type": "string"}, "message": {"type": "string"}}}
    return {
        "type": "object",
        "required": ["error", "code", "details"],
        "properties": {
            "error": {"type": "string", "description": "One sentence."},
            "code": {"type": "string", "description": "Stable; for programs."},
            "details": {"type": "array", "items": detail},
        },
    }
