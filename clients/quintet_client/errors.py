"""What can go wrong, each as a class of its own; all are `QuintetError`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx


class QuintetError(Exception):
    """Base of all."""


class ConnectionFailed(QuintetError):
    """There was no answer: no connection, or it broke, or the time was over."""


class TokenFailed(QuintetError):
    """No token could be had; the call was not sent."""


class BadAnswer(QuintetError):
    """The answer is not what the interface promises."""


class ServiceError(QuintetError):
    """An answer that says no. `code` is stable and meant for programs, `sentence` for people."""

    def __init__(
        self,
        status: int,
        code: str,
        sentence: str,
        details: list[dict[str, Any]],
        request_id: str | None,
        retry_after: float | None,
    ) -> None:
        self.status, self.code, self.sentence, self.details = status, code, sentence, details
        self.request_id, self.retry_after = request_id, retry_after
        fields = "; ".join(f"{d.get('field')}: {d.get('message')}" for d in details)
        quoted = f" [request {request_id}]" if request_id else ""
        super().__init__(f"{status} {code}: {sentence}{f' ({fields})' if fields else ''}{quoted}")


class Malformed(ServiceError):
    """400: cannot be read."""


class Unauthenticated(ServiceError):
    """401: no token, or one that does not verify or has expired."""


class Forbidden(ServiceError):
    """403: the token lacks what the sentence names."""


class NotFound(ServiceError):
    """404."""


class Conflict(ServiceError):
    """409: the same idempotency key with another body."""


class BodyTooLarge(ServiceError):
    """413."""


class InvalidValue(ServiceError):
    """422: can be read and is not allowed; `details` names the field."""


class TooManyRequests(ServiceError):
    """429: `rate_limited` (this caller) or `overloaded` (the model); `retry_after` says when to come back."""


class Unavailable(ServiceError):
    """503: not reachable, loading or shutting down."""


class DeadlineExceeded(ServiceError):
    """504: not answered in time."""


_BY_STATUS: dict[int, type[ServiceError]] = {
    400: Malformed,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: BodyTooLarge,
    422: InvalidValue,
    429: TooManyRequests,
    503: Unavailable,
    504: DeadlineExceeded,
}


def error_of(response: httpx.Response) -> ServiceError:
    """Also for an answer that is not in our shape, as something on the way might give."""
    code, sentence, details = "unknown", response.reason_phrase, []
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        code, sentence = str(body.get("code", code)), str(body.get("error", sentence))
        found = body.get("details")
        details = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    kind = _BY_STATUS.get(response.status_code, ServiceError)
    request_id = response.headers.get("x-request-id")
    return kind(response.status_code, code, sentence, details, request_id, retry_after(response))


def retry_after(response: httpx.Response) -> float | None:
    """Seconds; the header may also be a date."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
