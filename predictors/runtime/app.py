"""The ASGI application of a predictor: what every request passes, whatever its route.

The two hot routes (v1 predict, v2 infer) are answered here without a framework in between: the request
rate of an empty model is several times that of the SDK's own routes (benchmarks/). Domain routes, health and
docs are FastAPI; the SDK answers its model metadata. Around all of them, once: request id, body limit, one
error shape, metrics by route template, one log line, and an end to the work of a caller that has gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import InvalidValue, Malformed, MethodNotAllowed, NotFound, ServiceError
from predictors.runtime.logging import log_request, request_id
from predictors.runtime.metrics import METHODS, Metrics, RouteMetrics
from predictors.runtime.tensors import detail
from predictors.runtime.transports import health
from predictors.runtime.transports.http import (
    Answer,
    Disconnected,
    JSONResponse,
    Receive,
    Request,
    Scope,
    Send,
    error_answer,
    internal,
    read_body,
    retry_headers,
)
from predictors.runtime.transports.ids import accepted_id
from predictors.runtime.transports.v1 import V1
from predictors.runtime.transports.v2 import V2

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Answer]]
_WATCH_AFTER = 0.01  # seconds
_CLIENT_GONE = 499  # never sent, only logged and counted


class App:
    def __init__(self, dataplane: DataPlane[Any, Any], metrics: Metrics, sdk: ASGIApp | None = None) -> None:
        """``sdk``: the KServe SDK's application, asked for model metadata only."""
        name = dataplane.predictor.name
        self._limit = dataplane.settings.max_body_bytes
        self._metrics = metrics
        self.in_flight = 0
        metrics.in_flight.labels("rest").set_function(lambda: self.in_flight)
        self._hot: dict[str, tuple[str, Handler]] = {
            f"/v1/models/{name}:predict": ("/v1/models/{model}:predict", V1(dataplane).predict),
            f"/v2/models/{name}/infer": ("/v2/models/{model}/infer", V2(dataplane).infer),
        }
        self._sdk = sdk
        self._metadata = {
            "/v1/models": "/v1/models",
            f"/v1/models/{name}": "/v1/models/{model}",
            "/v2/models": "/v2/models",
            f"/v2/models/{name}": "/v2/models/{model}",
        }
        self._api = _api(dataplane, metrics)
        self._routes: dict[str, RouteMetrics] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Exchange(self, scope, receive, send).run()
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    def observed(self, route: str) -> RouteMetrics:
        metrics = self._routes.get(route)
        if metrics is None:
            metrics = self._routes[route] = RouteMetrics(self._metrics, route, "rest")
        return metrics


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        self._app, self._scope, self._receive, self._send = app, scope, receive, send
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._id = accepted_id(self._headers.get(b"x-request-id"))
        self._status = 0
        self._sent = 0
        self._body = b""
        self._route = "other"
        self._gone = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]

    async def run(self) -> None:
        app = self._app
        started = time.perf_counter()
        token = request_id.set(self._id)
        app.in_flight += 1
        try:
            await self._handle()
        except Disconnected:
            self._status = _CLIENT_GONE
        except asyncio.CancelledError:
            if not self._gone.is_set():
                raise
            # Cancelled by ourselves because the client hung up: the task goes on to its end.
            self._task.uncancel()
            self._status = _CLIENT_GONE
        finally:
            app.in_flight -= 1
            seconds = time.perf_counter() - started
            method = self._scope["method"]
            app.observed(self._route).observe(method, str(self._status), seconds)
            log_request(
                self._id,
                route=self._route,
                transport="rest",
                method=method if method in METHODS else "other",
                code=self._status,
                seconds=seconds,
                request_bytes=len(self._body),
                response_bytes=self._sent,
            )
            request_id.reset(token)

    async def _handle(self) -> None:
        app, path = self._app, self._scope["path"]
        handler: Handler | None = None
        if (hot := app._hot.get(path)) is not None:
            self._route, handler = hot
        try:
            if handler is not None and self._scope["method"] != "POST":
                raise MethodNotAllowed("Only POST is allowed here.")
            self._body = await read_body(self._headers, self._receive, app._limit)
            # Most answers come before this: only a request that waits has its connection watched.
            watch = asyncio.get_running_loop().call_later(_WATCH_AFTER, self._start_watch)
            try:
                if handler is not None:
                    answer = await handler(Request(self._id, self._headers, self._body))
                    await self._write(answer)
                else:
                    await self._delegate(path)
            finally:
                watch.cancel()
                if self._watcher is not None:
                    self._watcher.cancel()
        except ServiceError as error:
            await self._write(error_answer(error))
        except (Disconnected, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("The request failed.")
            if not self._status:
                await self._write(error_answer(internal(self._id)))

    async def _delegate(self, path: str) -> None:
        app = self._app
        if app._sdk is not None and self._scope["method"] == "GET" and path in app._metadata:
            self._route = app._metadata[path]
            await app._sdk(self._scope, self._replay(), self._send_observed)
            return
        try:
            await app._api(self._scope, self._replay(), self._send_observed)
        finally:
            route = self._scope.get("route")
            self._route = getattr(route, "path", self._route)

    def _start_watch(self) -> None:
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        self._task.cancel()

    def _replay(self) -> Receive:
        """The body once more for an application behind us, then the hang-up, if it comes."""
        given = False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": self._body, "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        return receive

    async def _send_observed(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self._id.encode())]
        else:
            self._sent += len(message.get("body", b""))
        await self._send(message)

    async def _write(self, answer: Answer) -> None:
        self._status, self._sent = answer.status, len(answer.body)
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", str(len(answer.body)).encode()),
            (b"x-request-id", self._id.encode()),
            *answer.headers,
        ]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _api(dataplane: DataPlane[Any, Any], metrics: Metrics) -> FastAPI:
    predictor = dataplane.predictor
    api = FastAPI(title=predictor.title, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    api.include_router(health.router(dataplane, metrics))

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        # Relative, so that the page also finds its document below a prefix of the gateway's.
        return get_swagger_ui_html(openapi_url="openapi.json", title=predictor.title)

    if (routes := predictor.routes(dataplane)) is not None:
        api.include_router(routes)
    api.add_exception_handler(ServiceError, _on_service_error)
    api.add_exception_handler(RequestValidationError, _on_validation_error)
    api.add_exception_handler(HTTPException, _on_http_exception)
    # Without this one Starlette would write its own text before the exception reaches us.
    api.add_exception_handler(Exception, _on_exception)
    return api


async def _on_service_error(_: FastAPIRequest, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    headers = {name.decode(): value.decode() for name, value in retry_headers(error)}
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


async def _on_validation_error(request: FastAPIRequest, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    entries = error.errors()
    if any(entry["type"] == "json_invalid" for entry in entries):
        return await _on_service_error(request, Malformed("The body is not valid JSON."))
    details = [detail(_path(entry["loc"]), entry["msg"]) for entry in entries]
    first = details[0]
    return await _on_service_error(
        request, InvalidValue(f"{first['field'] or 'The body'}: {first['message']}.", details=details)
    )


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location[1:]:  # without "body", "query" ...
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


async def _on_http_exception(request: FastAPIRequest, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known: dict[int, ServiceError] = {
        404: NotFound("There is nothing at this path."),
        405: MethodNotAllowed("This method is not allowed here."),
    }
    return await _on_service_error(
        request, known.get(error.status_code, Malformed("The body cannot be read."))
    )


async def _on_exception(_: FastAPIRequest, __: Exception) -> JSONResponse:
    error = internal(request_id.get() or "")
    return JSONResponse(error.body(), status_code=error.status)
