"""The ASGI application of a predictor: what every request passes, whatever its route.

The two hot routes (v1 predict, v2 infer) are answered here without a framework in between: the request
rate of an empty model is several times that of the SDK's own routes (benchmarks/). Domain routes, health,
metadata and docs are FastAPI (api.py). Around all of them, once: request id, body limit, one error shape,
metrics by route template, one log line, and an end to the work of a caller that has gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from predictors.runtime.alarms import Alarms
from predictors.runtime.api import build_api
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import MethodNotAllowed, RequestTimeout, ServiceError, Unavailable
from predictors.runtime.lifecycle import State
from predictors.runtime.logging import request_id, request_timings
from predictors.runtime.metrics import Metrics
from predictors.runtime.records import Records
from predictors.runtime.settings import RuntimeSettings
from predictors.runtime.transports.http import (
    JSON,
    Answer,
    Disconnected,
    Receive,
    Request,
    Scope,
    Send,
    error_answer,
    internal,
    read_body,
    require_json,
)
from predictors.runtime.transports.ids import accepted_id
from predictors.runtime.transports.v1 import V1
from predictors.runtime.transports.v2 import V2

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Answer]]
_WATCH_AFTER = 0.01  # seconds
_OPEN = ("/health", "/metrics", "/docs", "/openapi.json", "/v1/models", "/v2")
"""Where to look needs no key; all else, a model's own routes included, is the callers'."""
_CLIENT_GONE = 499  # never sent, only logged and counted


class App:
    def __init__(self, dataplane: DataPlane[Any, Any], metrics: Metrics, records: Records) -> None:
        name = dataplane.predictor.name
        self.dataplane = dataplane
        self.records = records
        self.api = build_api(dataplane, metrics)
        self.hot: dict[str, tuple[str, Handler]] = {
            f"/v1/models/{name}:predict": ("/v1/models/{model}:predict", V1(dataplane).predict),
            f"/v2/models/{name}/infer": ("/v2/models/{model}/infer", V2(dataplane).infer),
        }
        self.bodies = Alarms(_Exchange.body_is_late)
        self.watches = Alarms(_Exchange.start_watch)
        self.in_flight = 0
        metrics.in_flight.labels("rest").set_function(lambda: self.in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            with self.dataplane.exchange():
                await _Exchange(self, scope, receive, send).run()
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        self._app, self._scope, self._receive, self._send = app, scope, receive, send
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._id = accepted_id(self._headers.get(b"x-request-id"))
        self._timings: dict[str, float] = {}
        self._route = "other"
        self._status = 0  # 0 until an answer has begun
        self._received = self._sent = 0  # bytes of the bodies
        self._late = self._complete = False
        self._gone: asyncio.Event | None = None  # once watched
        self._watcher: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] = asyncio.current_task(self._loop)  # type: ignore[assignment]

    async def run(self) -> None:
        app = self._app
        started = time.perf_counter()
        request_token, timings_token = request_id.set(self._id), request_timings.set(self._timings)
        app.in_flight += 1
        try:
            await self._answer()
        except Disconnected:
            self._status = _CLIENT_GONE
        except asyncio.CancelledError:
            if self._gone is not None and self._gone.is_set():
                # Cancelled by ourselves because the client hung up: the task goes on to its end.
                self._task.uncancel()
                self._status = _CLIENT_GONE
            else:
                if not self._status:  # the grace period has ended
                    await self._write(error_answer(Unavailable("The server has shut down.", retry_after=1)))
                raise
        finally:
            app.in_flight -= 1
            app.records.add(
                self._id,
                route=self._route,
                transport="rest",
                method=self._scope["method"],
                code=self._status,
                seconds=time.perf_counter() - started,
                timings=self._timings,
                request_bytes=self._received,
                response_bytes=self._sent,
            )
            request_id.reset(request_token)
            request_timings.reset(timings_token)

    async def _answer(self) -> None:
        try:
            await self._handle()
        except ServiceError as error:
            await self._write(error_answer(error))
        except (Disconnected, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("The request failed.")
            if not self._status:
                await self._write(error_answer(internal(self._id)))

    async def _handle(self) -> None:
        settings = self._app.dataplane.settings
        self._route, handler = self._app.hot.get(self._scope["path"], ("other", None))
        if handler is not None and self._scope["method"] != "POST":
            refusal = error_answer(MethodNotAllowed("Only POST is allowed here."))
            refusal.headers = ((b"allow", b"POST"),)
            return await self._write(refusal)
        if self._scope["method"] == "POST" or not self._scope["path"].startswith(_OPEN):
            self._app.dataplane.check_key(self._headers.get(b"x-api-key"))
        body = await self._read_body(settings)
        self._received = len(body)
        # Most answers come before this: only a request that waits has its connection watched.
        self._app.watches.set(self, self._loop.time() + _WATCH_AFTER)
        try:
            with self._app.dataplane.holding(len(body)):
                if handler is not None:
                    request = Request(self._id, self._headers, body)
                    del body  # from here on the handler's
                    await self._write(await handler(request))
                else:
                    await self._delegate(body)
        finally:
            self._app.watches.cancel(self)
            if self._watcher is not None:
                self._watcher.cancel()

    async def _read_body(self, settings: RuntimeSettings) -> bytes:
        """Raises RequestTimeout when the body takes longer than a request may; see read_body."""
        self._app.bodies.set(self, self._loop.time() + settings.request_timeout)
        try:
            return await read_body(self._headers, self._receive, settings.max_body_bytes)
        except asyncio.CancelledError:
            if not self._late:
                raise
            self._task.uncancel()
            raise RequestTimeout("The body did not arrive in time.") from None
        finally:
            self._app.bodies.cancel(self)

    def body_is_late(self) -> None:
        self._late = True
        self._task.cancel()

    async def _delegate(self, body: bytes) -> None:
        if body:
            require_json(self._headers)
            if b"content-type" not in self._headers:
                self._scope["headers"] = [*self._scope["headers"], (b"content-type", JSON)]
        given = False
        gone = self._gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            """The body once more, then the hang-up, if it comes."""
            nonlocal given, body
            if not given:
                given, sent, body = True, body, b""
                return {"type": "http.request", "body": sent, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        # What answers GET answers HEAD; the server leaves the body out.
        scope = self._scope if self._scope["method"] != "HEAD" else {**self._scope, "method": "GET"}
        try:
            await self._app.api(scope, receive, self._send_observed)
        finally:
            self._route = getattr(scope.get("route"), "path", self._route)

    def start_watch(self) -> None:
        self._gone = self._gone or asyncio.Event()
        self._watcher = self._loop.create_task(self._watch(self._gone))

    async def _watch(self, gone: asyncio.Event) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        # After the last byte of an answer the server says so too; then there is nobody to be missed.
        if not self._complete:
            gone.set()
            self._task.cancel()

    async def _send_observed(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._own_headers()]
        else:
            self._sent += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        await self._send(message)

    async def _write(self, answer: Answer) -> None:
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", str(len(answer.body)).encode()),
            *answer.headers,
            *self._own_headers(),
        ]
        self._status, self._sent, self._complete = answer.status, len(answer.body), True
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body})

    def _own_headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self._id.encode())]
        if self._app.dataplane.lifecycle.state is State.DRAINING:
            # Whoever keeps the connection would find it closed at the next request.
            headers.append((b"connection", b"close"))
        return headers


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
