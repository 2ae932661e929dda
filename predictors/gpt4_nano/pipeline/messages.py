"""The messages' schemas, as published: bytes to a request, an outcome to bytes. Pure.

Headers: ``schema-version`` (absent means 1); set by the HTTP side ``subject`` (who asked) and ``submission``
(which time, as an id may be used again when its result's time is over); and ``request-id``.
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
MOST_BYTES = 1_000_000
"""Of a request that is sent over HTTP: what brokers take if nobody has told them otherwise."""
_MOST_SHORT = 1000

Headers = Sequence[tuple[str, bytes]]
Key = tuple[str, str, str]
"""Two requests with the same subject, request_id and submission are the same request."""


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
    submission: str = ""

    @property
    def key(self) -> Key:
        return self.subject, self.request_id, self.submission

    @property
    def headers(self) -> dict[str, str]:
        """What its outcome says about it."""
        told = {"request-id": self.request_id, "subject": self.subject}
        return {**told, "submission": self.submission} if self.submission else told


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent."""

    topic: str
    value: bytes
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def parse(value: bytes | None, headers: Headers) -> Request:
    """Raises Poison."""
    known = _texts(headers)
    version = known.get("schema-version", VERSION)
    if version != VERSION:
        raise Poison("unknown_schema_version", f"schema-version is {version!r}; this reads {VERSION}.")
    document = _document(value or b"")
    request_id = document.get("request_id")
    if not isinstance(request_id, str) or not 1 <= len(request_id) <= MOST_ID_LENGTH:
        raise Poison("no_request_id", f"request_id must be a string of 1 to {MOST_ID_LENGTH} characters.")
    payload = document.get("payload")
    row = _row(payload, request_id)
    return Request(request_id, known.get("subject", ""), row, known.get("submission", ""))


def key_of(headers: Headers) -> Key | None:
    """Of the request whose outcome has these headers; None where the request could not be read."""
    known = _texts(headers)
    if "request-id" not in known:
        return None
    return known.get("subject", ""), known["request-id"], known.get("submission", "")


def read_payload(payload: Any, request_id: str) -> Row:
    """Raises InvalidRow, whose field is below ``payload``."""
    if not isinstance(payload, dict):
        raise InvalidRow("payload", "must be an object")
    fields = {"max_tokens": MAX_TOKENS, **payload}
    for name in ("frequency_penalty", "presence_penalty"):
        if fields.pop(name, None) not in (None, 0):
            raise InvalidRow(f"payload.{name}", "must be 0: the model has no such penalty")
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
    told = {"schema-version": VERSION, **request.headers}
    return Outgoing(RESULTS, orjson.dumps(body), key, _encoded(told))


def told(
    topic: str, value: bytes | None, headers: Headers, timestamp: float
) -> tuple[str, str, dict[str, Any]] | None:
    """Subject, request_id and result of an outcome; None for a request that could not be read.

    Raises ValueError for what is no outcome.
    """
    key = key_of(headers)
    if key is None:
        return None
    subject, request_id, _ = key
    if topic != DLQ:
        body = orjson.loads(value or b"")
        if not isinstance(body, dict) or not isinstance(body.get("success"), bool):
            raise ValueError("A result is an object with success.")
        return subject, request_id, body
    known = _texts(headers)
    kind = "timeout" if known.get("dlq-reason") == "exhausted_timeout" else "unexpected"
    text = known.get("dlq-message", "The request could not be answered.")
    return subject, request_id, failure(request_id, text, kind, timestamp)


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
        told |= request.headers
    kept = tuple((name, content) for name, content in headers if name not in told)
    return Outgoing(DLQ, value or b"", key, (*kept, *_encoded(told)))


def shortened(outgoing: Outgoing, timestamp: float) -> Outgoing:
    """In place of a message that is larger than the broker takes: who and why, without what was said."""
    own = {"schema-version", "request-id", "subject", "submission"}
    headers = tuple(
        (name, content)
        for name, content in outgoing.headers
        if (name in own or name.startswith("dlq-")) and len(content) <= _MOST_SHORT
    )
    key = outgoing.key if len(outgoing.key or b"") <= _MOST_SHORT else None
    if outgoing.topic == DLQ:
        return Outgoing(DLQ, b"", key, (*headers, *_encoded({"dlq-omitted-bytes": str(len(outgoing.value))})))
    request_id = _texts(outgoing.headers)["request-id"]
    body = failure(request_id, "The result is larger than the broker takes.", "unexpected", timestamp)
    return Outgoing(outgoing.topic, orjson.dumps(body), key, headers)


def _texts(headers: Headers) -> dict[str, str]:
    return {name: content.decode(errors="replace") for name, content in headers}


def _encoded(headers: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, text.encode()) for name, text in headers.items())


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
