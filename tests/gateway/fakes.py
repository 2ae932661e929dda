"""Tiny upstreams that say what reached them: one thread and loop for all, HTTP and gRPC for each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import grpc
import uvicorn


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Seen:
    """One request as it reached the upstream."""

    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeModel:
    """Answers everything with what it saw. ``?hold`` waits for `release`, ``?events=N`` streams."""

    name: str
    http_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    seen: list[Seen] = field(default_factory=list)
    ready: bool = True
    host: str = "127.0.0.1"
    status: int = 200
    """What it answers to every call."""
    statuses: list[int] = field(default_factory=list)
    """And before that, to the next ones."""
    answers: list[Any] = field(default_factory=list)
    """Bodies of the next good answers, in place of what it saw."""
    held: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    jwks: dict[str, Any] | None = None
    """Served at /jwks.json, so that a fake model can also play the issuer."""
    jwks_asked: int = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        query = scope["query_string"].decode()
        if scope["path"] == "/v2/health/ready":
            return await _answer(send, 200 if self.ready else 503, {"ready": self.ready})
        if scope["path"] == "/jwks.json":
            self.jwks_asked += 1
            return await _answer(send, 200 if self.jwks is not None else 500, self.jwks)
        request = Seen(scope["path"], query, headers, body)
        self.seen.append(request)
        asked = parse_qs(query, keep_blank_values=True)
        if "hold" in asked:
            self.held.set()
            gone = asyncio.ensure_future(_gone(receive))
            await asyncio.wait(
                [gone, asyncio.ensure_future(self.release.wait())], return_when="FIRST_COMPLETED"
            )
            if gone.done():
                return self.gone.set()
            gone.cancel()
        status = self.statuses.pop(0) if self.statuses else int(asked.get("status", [self.status])[0])
        if status != 200:
            error = {"error": "not ready", "code": "x", "details": ["of the model"]}
            return await _answer(send, status, error)
        if "events" in asked:
            return await self._stream(send, int(asked["events"][0]))
        if "ticks" in asked:
            return await self._tick(send, int(asked["ticks"][0]))
        said = {"model": self.name, "path": request.path, "query": query, "headers": headers}
        await _answer(send, 200, self.answers.pop(0) if self.answers else said)

    async def _stream(self, send: Any, count: int) -> None:
        """The next event is sent only when the test has seen the one before and says so."""
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        for number in range(count):
            await send(
                {"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True}
            )
            await self.release.wait()
            self.release.clear()
        await send({"type": "http.response.body", "body": b""})

    async def _tick(self, send: Any, count: int) -> None:
        """An event a second, as a model that thinks aloud."""
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for number in range(count):
            await send(
                {"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True}
            )
            await asyncio.sleep(1)
        await send({"type": "http.response.body", "body": b""})

    async def grpc_call(self, request: bytes, context: grpc.aio.ServicerContext, method: str) -> bytes:
        headers = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self.seen.append(Seen(method, "", headers, request))
        if request == b"hold":
            self.held.set()
            await self.release.wait()
        return json.dumps({"model": self.name, "path": method, "headers": headers}).encode()


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Any, status: int, body: Any) -> None:
    head = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class _GrpcEcho(grpc.GenericRpcHandler):
    """Takes every method as bytes -> bytes, so that no generated code is needed."""

    def __init__(self, model: FakeModel) -> None:
        self._model = model

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        method = handler_call_details.method

        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return await self._model.grpc_call(request, context, method)

        return grpc.unary_unary_rpc_method_handler(handle)  # pyright: ignore[reportArgumentType]


class Upstreams:
    """Runs the fakes until closed."""

    def __init__(self, *models: FakeModel) -> None:
        self._models = models
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstreams")
        self._stops: list[Callable[[], Coroutine[Any, Any, Any]]] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def do(self, action: Callable[[], None]) -> None:
        """In the fakes' own loop, where their events live."""

        async def act() -> None:
            action()

        self.run(act())

    def stop(self) -> None:
        """They are gone: connections are closed and new ones refused."""
        while self._stops:
            self.run(self._stops.pop()())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        self._stops = [stop for model in self._models for stop in self.run(_start(model))]
        try:
            yield
        finally:
            self.stop()
            self.run(_cancel_the_rest())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _cancel_the_rest() -> None:
    """Tasks the servers left waiting, so that none is destroyed while it waits."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


async def _start(model: FakeModel) -> list[Callable[[], Coroutine[Any, Any, Any]]]:
    settings = uvicorn.Config(
        model.app,
        host=model.host,
        port=model.http_port,
        interface="asgi3",
        lifespan="off",
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    http = uvicorn.Server(settings)
    http.capture_signals = contextlib.nullcontext  # pyright: ignore[reportAttributeAccessIssue] (not in main thread)
    serving = asyncio.ensure_future(http.serve())
    while not http.started:  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.005)
    rpc = grpc.aio.server()
    rpc.add_generic_rpc_handlers([_GrpcEcho(model)])
    rpc.add_insecure_port(f"{model.host}:{model.grpc_port}")
    await rpc.start()

    async def stop_http() -> None:
        http.should_exit = True
        await serving

    async def stop_rpc() -> None:
        await rpc.stop(0)

    return [stop_http, stop_rpc]
