"""Our own HTTP servers beside Envoy: quiet, and ended by their owner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn

from gateway.errors import GatewayError


class Server(uvicorn.Server):
    """`where` is uvicorn's: host and port, or uds."""

    def __init__(self, app: Any, **where: Any) -> None:
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=30,  # longer than Envoy keeps a connection: it is the one that closes
            **where,
        )
        super().__init__(settings)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for the one who owns all of it."""
        yield

    async def until_started(self, serving: asyncio.Task[None]) -> None:
        while not self.started:
            if serving.done():
                raise GatewayError("a server of our own did not start; see the log above")
            await asyncio.sleep(0.005)
