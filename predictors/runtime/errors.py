"""Every error a caller can meet; a class owns its HTTP status, its gRPC code and its stable ``code``.

The shape is the same on every transport::

    {"error": "<sentence>", "code": "<stable>", "details": [{"field": "...", "message": "..."}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from grpc import StatusCode


class ServiceError(Exception):
    """An error whose sentence may be shown to the caller."""

    status: ClassVar[int] = 500
    grpc_code: ClassVar[StatusCode] = StatusCode.INTERNAL
    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, details: Sequence[dict[str, Any]] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        return {"error": self.message, "code": self.code, "details": self.details}


class Malformed(ServiceError):
    """The request cannot be read at all: broken JSON, a wrong tensor shape, an unknown tensor."""

    status = 400
    grpc_code = StatusCode.INVALID_ARGUMENT
    code = "malformed"


class InvalidValue(ServiceError):
    """The request can be read, a value in it is not allowed; ``details`` names the field."""

    status = 422
    grpc_code = StatusCode.INVALID_ARGUMENT
    code = "invalid_value"


class Unauthenticated(ServiceError):
    status = 401
    grpc_code = StatusCode.UNAUTHENTICATED
    code = "unauthenticated"


class NotFound(ServiceError):
    status = 404
    grpc_code = StatusCode.NOT_FOUND
    code = "not_found"


class MethodNotAllowed(ServiceError):
    status = 405
    grpc_code = StatusCode.UNIMPLEMENTED
    code = "method_not_allowed"


class RequestTimeout(ServiceError):
    """The request itself did not arrive in time."""

    status = 408
    grpc_code = StatusCode.DEADLINE_EXCEEDED
    code = "request_timeout"


class Conflict(ServiceError):
    """The request contradicts one that was accepted before."""

    status = 409
    grpc_code = StatusCode.ALREADY_EXISTS
    code = "conflict"


class BodyTooLarge(ServiceError):
    status = 413
    grpc_code = StatusCode.RESOURCE_EXHAUSTED
    code = "body_too_large"


class UnsupportedMediaType(ServiceError):
    status = 415
    grpc_code = StatusCode.INVALID_ARGUMENT
    code = "unsupported_media_type"


class Overloaded(ServiceError):
    """The queue is full. The caller may try again after ``retry_after`` seconds."""

    status = 429
    grpc_code = StatusCode.RESOURCE_EXHAUSTED
    code = "overloaded"


class Unavailable(ServiceError):
    """Not ready yet, or draining."""

    status = 503
    grpc_code = StatusCode.UNAVAILABLE
    code = "unavailable"


class DeadlineExceeded(ServiceError):
    status = 504
    grpc_code = StatusCode.DEADLINE_EXCEEDED
    code = "deadline_exceeded"


class Internal(ServiceError):
    """A fault of ours. Its cause stays in the log; the caller gets the request id."""


class LoadError(Exception):
    """A model that cannot be served: one sentence that names the file, key, shape or checksum."""
