"""The messages' schemas, as published: bytes to a request, an outcome to bytes. Pure.

Headers: ``schema-version`` (absent means 1), ``subject`` (who asked, set by the HTTP side), ``request-id``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from predictors.gpt4_nano.backends.rows import Completion, InvalidRow, Row, row_of

REQUESTS, RESULTS, DLQ = "inference-requests", "inference-results", "inference-requests-dlq"
VERSION = "1"
MAX_TOKENS = 100
MOST_ID_LENGTH = 200

Headers = Sequence[tuple[str, bytes]]


class Poison(Exception):
    """A message that nobody can answer: ``reason`` is one of a closed set, the text is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    request_id: str
    subject: str
    row: Row | InvalidRow
    """What is asked, or why it is not allowed."""

    @property
    def key(self) -> tuple[str, str]:
        """Two requests with the same one are the same request."""
        return self.subject, self.request_id


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent."""

    topic: str
    value: bytes
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def parse(value: bytes | None, headers: Headers) -> Request:
    """Raises Poison."""
    known = {name: content.decode(errors="replace") for name, content in headers}
    version = known.get("schema-version", VERSION)
    if version != VERSION:
        raise Poison("unknown_schema_version", f"schema-version is {version!r}; this reads {VERSION}.")
    document = _document(value or b"")
    request_id = document.get("request_id")
    if not isinstance(request_id, str) or not 1 <= len(request_id) <= MOST_ID_LENGTH:
        raise Poison("no_request_id", f"request_id must be a string of 1 to {MOST_ID_LENGTH} characters.")
    payload = document.get("payload")
    return Request(request_id, known.get("subject", ""), _row(payload, request_id))


def read_payload(payload: Any, request_id: str) -> Row:
    """Raises InvalidRow, whose field is below ``payload``."""
    if not isinstance(payload, dict):
        raise InvalidRow("payload", "must be an object")
    fields = {"max_tokens": MAX_TOKENS, **payload}
    for name in ("frequency_penalty", "presence_penalty"):
        if (value := fields.pop(name, None)) not in (None, 0):
            raise InvalidRow(f"payload.{name}", f"must be 0, not {value!r}: the model has no such penalty")
    known = {"prompt", "max_tokens", "temperature", "top_p", "stop", "seed"}
    for name in fields:
        if name not in known:
            raise InvalidRow(f"payload.{name}", f"is not known; there are {', '.join(sorted(known))}")
    try:
        return row_of({**fields, "request_id": request_id})
    except InvalidRow as error:
        raise InvalidRow(f"payload.{error.field}", error.message) from None


def success(
    request: Request, completion: Completion, *, seconds: float, triton: str, timestamp: float
) -> dict[str, Any]:
    return {
        "request_id": request.request_id,
        "success": True,
        "output": {
            "response_text": completion.response,
            "tokens_used": completion.tokens_used,
            "finish_reason": completion.finish_reason,
            "model": completion.model,
            "processing_time": round(seconds, 6),
        },
        "metadata": {
            "triton_url": triton,
            "model_name": "gpt4_nano",
            "timestamp": timestamp,
            "raw_triton_response": {
                "response": completion.response,
                "tokens_used": completion.tokens_used,
                "prompt_tokens": completion.prompt_tokens,
                "finish_reason": completion.finish_reason,
                "model": completion.model,
            },
        },
    }


def failure(request_id: str, error: str, error_type: str, timestamp: float) -> dict[str, Any]:
    """``error_type``: validation, connection, timeout, http or unexpected."""
    return {
        "request_id": request_id,
        "success": False,
        "error": error,
        "error_type": error_type,
        "timestamp": timestamp,
    }


def result(request: Request, body: Mapping[str, Any], key: bytes | None) -> Outgoing:
    headers = (
        ("schema-version", VERSION.encode()),
        ("request-id", request.request_id.encode()),
        ("subject", request.subject.encode()),
    )
    return Outgoing(RESULTS, orjson.dumps(body), key, headers)


def dead_letter(
    value: bytes | None,
    key: bytes | None,
    headers: Headers,
    *,
    reason: str,
    message: str,
    source: tuple[str, int, int],
    attempts: int,
    timestamp: float,
    request: Request | None = None,
) -> Outgoing:
    """The message as it came, with headers that say why it is here. ``source``: topic, partition, offset."""
    topic, partition, offset = source
    told = {
        "dlq-reason": reason,
        "dlq-message": message,
        "dlq-topic": topic,
        "dlq-partition": str(partition),
        "dlq-offset": str(offset),
        "dlq-attempts": str(attempts),
        "dlq-timestamp": f"{timestamp:.3f}",
    }
    if request is not None:
        told |= {"request-id": request.request_id, "subject": request.subject}
    kept = tuple((name, content) for name, content in headers if name not in told)
    return Outgoing(DLQ, value or b"", key, (*kept, *((name, text.encode()) for name, text in told.items())))


def _document(value: bytes) -> dict[str, Any]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Poison("invalid_utf8", "The message is not valid UTF-8.") from None
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Poison("malformed_json", f"The message is not valid JSON: {error.msg}.") from None
    if not isinstance(document, dict):
        raise Poison("not_an_object", "The message is not a JSON object.")
    return document


def _row(payload: Any, request_id: str) -> Row | InvalidRow:
    try:
        return read_payload(payload, request_id)
    except InvalidRow as error:
        return error
