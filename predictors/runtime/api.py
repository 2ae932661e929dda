"""The FastAPI part of a predictor: domain routes, health and docs, with errors in our one shape."""

from __future__ import annotations

import functools
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import InvalidValue, Malformed, MethodNotAllowed, NotFound, ServiceError
from predictors.runtime.logging import request_id
from predictors.runtime.metrics import Metrics
from predictors.runtime.predictor import Predictor
from predictors.runtime.tensors import detail
from predictors.runtime.transports import docs, health, openapi
from predictors.runtime.transports.http import ErrorBody, JSONResponse, internal, retry_headers

MAX_DETAILS = 20
"""A body of a million mistakes is answered with the first of them."""

_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "Cannot be read."},
    422: {"model": ErrorBody, "description": "Can be read, not allowed; details names the field."},
    429: {"model": ErrorBody, "description": "Overloaded; Retry-After says when to come back."},
    503: {"model": ErrorBody, "description": "Loading or shutting down; Retry-After."},
    504: {"model": ErrorBody, "description": "Not answered in time."},
}


def build_api(dataplane: DataPlane[Any, Any], metrics: Metrics) -> FastAPI:
    predictor = dataplane.predictor
    api = FastAPI(title=predictor.title, docs_url=None, redoc_url=None, redirect_slashes=False)
    api.include_router(health.router(dataplane, metrics))

    page = functools.cache(docs.page)

    @api.get("/docs", include_in_schema=False)
    def documentation() -> HTMLResponse:
        return HTMLResponse(page(predictor.title))

    if (routes := predictor.routes(dataplane)) is not None:
        api.include_router(routes, responses=_DOCUMENTED)
    _describe(api, predictor)
    api.add_exception_handler(ServiceError, _on_service_error)
    api.add_exception_handler(RequestValidationError, _on_validation_error)
    api.add_exception_handler(HTTPException, _on_http_exception)
    # Without this one Starlette would write its own text before the exception reaches us.
    api.add_exception_handler(Exception, _on_exception)
    return api


def _describe(api: FastAPI, predictor: Predictor[Any, Any, Any]) -> None:
    """Puts the routes that are answered in front of FastAPI into its document."""

    @functools.cache
    def document() -> dict[str, Any]:
        found = get_openapi(title=api.title, version=api.version, routes=api.routes)
        content = {"application/json": {"schema": ErrorBody.model_json_schema()}}
        errors = {
            str(status): {"description": said["description"], "content": content}
            for status, said in _DOCUMENTED.items()
        }
        found["paths"] |= openapi.paths(predictor, errors)
        _drop_foreign_errors(found)
        return found

    api.openapi = document


def _drop_foreign_errors(document: dict[str, Any]) -> None:
    """FastAPI adds a 422 in its own shape to every route with a parameter; no route here answers so."""
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]


async def _on_service_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    headers = {name.decode(): value.decode() for name, value in retry_headers(error)}
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    entries = list(error.errors())[:MAX_DETAILS]
    if any(entry["type"] == "json_invalid" for entry in entries):
        return await _on_service_error(request, Malformed("The body is not valid JSON."))
    details = [detail(_path(entry["loc"]), entry["msg"].removeprefix("Value error, ")) for entry in entries]
    first = details[0]
    return await _on_service_error(
        request, InvalidValue(f"{first['field'] or 'The body'}: {first['message']}.", details=details)
    )


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location[1:]:  # without "body", "query" ...
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known: dict[int, ServiceError] = {
        404: NotFound("There is nothing at this path."),
        405: MethodNotAllowed("This method is not allowed here."),
    }
    answer = await _on_service_error(
        request, known.get(error.status_code, Malformed("The request cannot be read."))
    )
    answer.headers.update(error.headers or {})
    return answer


async def _on_exception(_: Request, __: Exception) -> JSONResponse:
    error = internal(request_id.get() or "")
    return JSONResponse(error.body(), status_code=error.status)
