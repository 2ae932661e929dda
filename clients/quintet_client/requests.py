"""What both clients share: a call as a request, and an answer as its value."""

from __future__ import annotations

from typing import Any, TypeVar

import httpx

from .calls import Call
from .errors import BadAnswer

T = TypeVar("T")

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60.0)


def arguments(call: Call[Any], token: str) -> dict[str, Any]:
    """For httpx's build_request. An empty token is none, for a server without a gateway in front."""
    headers = {"accept": "application/json", **call.headers}
    if token:
        headers["authorization"] = f"Bearer {token}"
    made: dict[str, Any] = {"method": call.method, "url": call.path, "headers": headers}
    return made if call.body is None else made | {"json": call.body}


def stream_arguments(call: Call[Any], token: str, last_id: str) -> dict[str, Any]:
    made = arguments(call, token)
    made["headers"] |= {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
    return made


def value_of(call: Call[T], response: httpx.Response) -> T:
    if not response.content:
        return call.parse(None)
    try:
        document = response.json()
    except ValueError:
        raise BadAnswer(f"{call.method} {call.path} was answered with something that is not JSON") from None
    return call.parse(document)
