"""Server-sent events, for domain routes that answer piece by piece."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import Response

from predictors.runtime.errors import ServiceError
from predictors.runtime.logging import request_id
from predictors.runtime.transports.http import Receive, Scope, Send, dump, internal

logger = logging.getLogger(__name__)


HEARTBEAT = b": alive\n\n"
"""A comment, for streams that may be silent longer than proxies wait."""


def event(name: str, data: Any, number: int | None = None) -> bytes:
    """One event: ``data`` as one line of JSON; ``number``: its id, which comes back as Last-Event-ID."""
    named = b"" if number is None else b"id: %d\n" % number
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), named, dump(data))


def retry(milliseconds: int) -> bytes:
    """How long a caller whose stream broke waits before it comes back."""
    return b"retry: %d\n\n" % milliseconds


class EventStream(Response):
    """Sends events as they come, each at once.

    What is raised before the first one is answered with a status of its own, as on any route; afterwards it
    is an event ``error`` with the body of that error, and the end. When the caller hangs up the events are
    closed.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self.status_code, self.background = 200, None
        # A proxy that collects what passes would make one answer of the pieces.
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        async with contextlib.aclosing(self._events) as events:
            chunk = await anext(events)
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            while chunk is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await _next(events)
        await send({"type": "http.response.body", "body": b""})


async def _next(events: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next event, or that of an error, after which there is none."""
    try:
        return await anext(events, None)
    except ServiceError as error:
        return event("error", error.body())
    except Exception:
        logger.exception("The request failed.")
        return event("error", internal(request_id.get() or "").body())
