"""Runs the gateway: Envoy as a child, the portal in this process. Both or none."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import uvicorn

from gateway import process
from gateway.clusters import LOOPBACK
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.loading import Loaded
from gateway.portal.app import create_app
from gateway.render import render

READY_SECONDS = 30.0


async def serve(loaded: Loaded, say: Callable[[str], None]) -> None:
    """Returns when it was told to stop (SIGTERM, SIGINT); raises when Envoy or the portal ends by itself."""
    config = loaded.config
    stopping = _stop_signal()
    process.check_ports_free(
        [
            ("listen", config.listen.address, config.listen.port),
            ("admin", LOOPBACK, config.admin.port),
            ("portal", LOOPBACK, config.portal.port),
        ]
    )
    with tempfile.TemporaryDirectory(prefix="quintet-gateway-", ignore_cleanup_errors=True) as folder:
        bootstrap = render(loaded, Path(folder))
        process.validate(bootstrap)  # blocks, while there is nothing else to do yet
        envoy = await process.start_envoy(bootstrap)
        portal = _Portal(config)
        waits = {
            asyncio.create_task(stopping.wait()): None,
            asyncio.create_task(envoy.wait()): "Envoy",
            asyncio.create_task(portal.serve()): "The portal",
        }
        announcing = asyncio.create_task(_when_ready(config, Path(folder), say))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            ended = [name for task in done if (name := waits[task])]
            if ended and not stopping.is_set():
                raise GatewayError(f"{' and '.join(ended)} ended unexpectedly; see the log above")
        finally:
            announcing.cancel()
            portal.should_exit = True
            await process.stop(envoy)
            stopping.set()
            await asyncio.gather(announcing, *waits, return_exceptions=True)


def _stop_signal() -> asyncio.Event:
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


class _Portal(uvicorn.Server):
    def __init__(self, config: Config) -> None:
        settings = uvicorn.Config(
            create_app(config),
            host=LOOPBACK,
            port=config.portal.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        super().__init__(settings)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for the one who owns both children."""
        yield


async def _when_ready(config: Config, folder: Path, say: Callable[[str], None]) -> None:
    """Says that requests can be sent; removes what Envoy has read by then: not even SIGKILL leaves keys."""
    loop = asyncio.get_running_loop()
    until = loop.time() + READY_SECONDS
    ready = f"http://{LOOPBACK}:{config.admin.port}/ready"
    async with httpx.AsyncClient(trust_env=False) as client:
        while loop.time() < until:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(ready)).status_code == 200:
                    address = config.listen.address
                    host = f"[{address}]" if ":" in address else address
                    shutil.rmtree(folder, ignore_errors=True)
                    return say(f"gateway ready on http://{host}:{config.listen.port}")
            await asyncio.sleep(0.05)
    say(f"gateway: Envoy is not ready after {READY_SECONDS:.0f} s and is still starting")
