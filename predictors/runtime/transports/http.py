"""What the REST transports share: reading a request, writing an answer, errors in one shape."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel
from starlette.responses import JSONResponse as StarletteJSONResponse

from predictors.runtime.errors import (
    BodyTooLarge,
    Internal,
    Malformed,
    ServiceError,
    UnsupportedMediaType,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"


@dataclass(slots=True)
class Request:
    """A request whose body has been read, within the limit."""

    id: str
    headers: dict[bytes, bytes]
    body: bytes

    def take_body(self) -> bytes:
        """The body, once: it need not be kept while what was in it waits for the engine."""
        body, self.body = self.body, b""
        return body


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class ErrorBody(BaseModel):
    """Every error, on every transport."""

    error: str
    code: str
    details: list[dict[str, Any]]


class Disconnected(Exception):
    """The client hung up before its request was complete."""


class JSONResponse(StarletteJSONResponse):
    def render(self, content: Any) -> bytes:
        return dump(content)


def dump(content: Any) -> bytes:
    try:
        return orjson.dumps(content)
    except orjson.JSONEncodeError:
        # A lone surrogate, which FastAPI's parser lets in and an error may quote as a field's name.
        return json.dumps(content).encode()


def _unicode(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text without lone surrogates") from None
    return value


Text = Annotated[str, AfterValidator(_unicode)]
"""For the models of domain routes: text that can be encoded, which a str from JSON need not be."""


def load(body: bytes) -> Any:
    """A JSON document. Raises Malformed for anything else: NaN, bad UTF-8, too deep nesting included."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not valid JSON (line {error.lineno}, column {error.colno}).") from None


def load_object(body: bytes) -> dict[str, Any]:
    document = load(body)
    if not isinstance(document, dict):
        raise Malformed("The body must be a JSON object.")
    return document


def require_json(headers: dict[bytes, bytes]) -> None:
    """Raises UnsupportedMediaType unless the content type is JSON; parameters and absence are fine."""
    kind = headers.get(b"content-type", JSON).split(b";", 1)[0].strip().lower()
    if kind != JSON and not kind.endswith(b"+json"):
        raise UnsupportedMediaType("The content type must be application/json.")


def number(digits: bytes) -> int | None:
    """A length from a header; None for what is none."""
    return int(digits) if len(digits) <= 12 and digits.isdigit() else None


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole body, as it was sent.

    Raises BodyTooLarge beyond ``limit`` bytes, UnsupportedMediaType for a compressed one, Disconnected when
    the client hung up.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("A compressed body (Content-Encoding) is not supported.")
    if (number(headers.get(b"content-length", b"")) or 0) > limit:
        raise BodyTooLarge(f"The body must be at most {limit} bytes.")
    message = await receive()
    if not message.get("more_body", False) and message["type"] == "http.request":
        body = message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(f"The body must be at most {limit} bytes.")
        return body
    chunks, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise BodyTooLarge(f"The body must be at most {limit} bytes.")
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def error_answer(error: ServiceError) -> Answer:
    return Answer(error.status, dump(error.body()), headers=tuple(retry_headers(error)))


def retry_headers(error: ServiceError) -> list[tuple[bytes, bytes]]:
    if error.retry_after is None:
        return []
    return [(b"retry-after", str(math.ceil(error.retry_after)).encode())]


def internal(request_id: str) -> Internal:
    """What a caller hears of an unforeseen exception: nothing of it but where to look it up."""
    return Internal(f"Internal error; quote request {request_id}.")
