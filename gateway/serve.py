"""Runs the gateway: Envoy as a child, the portal and what Envoy asks of us in this process. All or none."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

from gateway import process
from gateway.clusters import LOOPBACK
from gateway.config import Config
from gateway.control import create_control
from gateway.draining import drain
from gateway.errors import GatewayError
from gateway.keystore import KeyStore
from gateway.loading import Loaded
from gateway.portal.app import create_app
from gateway.render import render
from gateway.servers import Server
from gateway.streams import Ends, OpenStreams, caps

READY_SECONDS = 30.0
#: What a path to a Unix socket may be long, its final zero included.
_SOCKET_PATH = 108

Say = Callable[[str], None]


class _Signals:
    """The first asks to end in good order, the second to end now."""

    def __init__(self) -> None:
        self.stop, self.now = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._told)

    def _told(self) -> None:
        if self.stop.is_set():
            self.now.set()
        self.stop.set()


async def serve(loaded: Loaded, say: Say) -> None:
    """Returns when it was told to stop (SIGTERM, SIGINT); raises when Envoy or a server ends by itself."""
    config = loaded.config
    signals = _Signals()
    process.check_ports_free(_ports(config))
    with tempfile.TemporaryDirectory(prefix="quintet-gateway-", ignore_cleanup_errors=True) as path:
        folder = render(loaded, Path(path))
        if len(str(folder.control)) >= _SOCKET_PATH:
            raise GatewayError(
                f"{folder.path} is too long a path for a socket in it: set TMPDIR to a shorter"
            )
        streams = OpenStreams(caps(config))
        ends = Ends(folder.stream_ends, streams)
        process.validate(folder.bootstrap)  # blocks, while there is nothing else to do yet
        ends.listen()
        control = Server(create_control(KeyStore(loaded, say), streams), uds=str(folder.control))
        portal = Server(create_app(config), host=LOOPBACK, port=config.portal.port)
        try:
            async with _running(control, "What Envoy asks") as asked, _running(portal, "The portal") as shown:
                envoy = await process.start_envoy(folder.bootstrap)
                try:
                    waits = [asked, shown, asyncio.create_task(envoy.wait(), name="Envoy")]
                    await _until_stopped(config, signals, waits, say)
                finally:
                    await process.stop(envoy)
        finally:
            ends.close()


def _ports(config: Config) -> list[tuple[str, str, int]]:
    ports = [
        ("listen", config.listen.address, config.listen.port),
        ("admin", LOOPBACK, config.admin.port),
        ("portal", LOOPBACK, config.portal.port),
    ]
    if config.monitoring:
        ports.append(("monitoring", config.monitoring.address, config.monitoring.port))
    return ports


@contextlib.asynccontextmanager
async def _running(server: Server, name: str) -> AsyncIterator[asyncio.Task[None]]:
    serving = asyncio.create_task(server.serve(), name=name)
    try:
        await server.until_started(serving)
        yield serving
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)


async def _until_stopped(
    config: Config, signals: _Signals, waits: list[asyncio.Task[None]], say: Say
) -> None:
    """Says when it is ready, waits for a signal, drains. Raises when one of `waits` is over before."""
    async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{config.admin.port}", trust_env=False) as admin:
        announcing = asyncio.create_task(_when_ready(config, admin, say))
        stopped = asyncio.create_task(signals.stop.wait())
        now = asyncio.create_task(signals.now.wait())
        draining: asyncio.Task[None] | None = None
        try:
            await asyncio.wait([stopped, *waits], return_when=asyncio.FIRST_COMPLETED)
            if not signals.stop.is_set():
                ended = " and ".join(task.get_name() for task in waits if task.done())
                raise GatewayError(f"{ended} ended unexpectedly; see the log above")
            draining = asyncio.create_task(drain(admin, config.drain))
            await asyncio.wait([draining, now, *waits], return_when=asyncio.FIRST_COMPLETED)
        finally:
            helpers: list[asyncio.Task[Any]] = [t for t in (announcing, stopped, now, draining) if t]
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)


async def _when_ready(config: Config, admin: httpx.AsyncClient, say: Say) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + READY_SECONDS
    while loop.time() < until:
        with contextlib.suppress(httpx.TransportError):
            if (await admin.get("/ready")).status_code == 200:
                listen = config.listen
                host = f"[{listen.address}]" if ":" in listen.address else listen.address
                scheme = "https" if listen.tls else "http"
                return say(f"gateway ready on {scheme}://{host}:{listen.port}")
        await asyncio.sleep(0.05)
    say(f"gateway: Envoy is not ready after {READY_SECONDS:.0f} s and is still starting")
