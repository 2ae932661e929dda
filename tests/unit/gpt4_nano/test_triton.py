"""Triton's refusals, as callers of the transformer hear them."""

from __future__ import annotations

import grpc
import pytest

from predictors.gpt4_nano.triton import error_of
from predictors.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidValue,
    Overloaded,
    ServiceError,
    Unavailable,
)

CODES = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "message", "error", "sentence"),
    [
        (CODES.INVALID_ARGUMENT, "prompt must be shorter", InvalidValue, "prompt must be shorter."),
        (None, "INVALID_ARG: prompt must be shorter", InvalidValue, "prompt must be shorter."),
        (
            CODES.UNAVAILABLE,
            "Exceeds maximum queue size",
            Overloaded,
            "The model is overloaded; try again later.",
        ),
        (None, "Exceeds maximum queue size", Overloaded, "The model is overloaded; try again later."),
        (CODES.UNAVAILABLE, "connect to 10.0.0.1", Unavailable, "The model's server cannot answer now."),
        (None, "UNAVAILABLE: no answer", Unavailable, "The model's server cannot answer now."),
        (CODES.DEADLINE_EXCEEDED, "", DeadlineExceeded, "The request was not answered before its deadline."),
        (
            CODES.UNAVAILABLE,
            "Request timeout expired",
            DeadlineExceeded,
            "The request was not answered before its deadline.",
        ),
        (CODES.INTERNAL, "Traceback: /app/secret", Internal, "The model failed on this input."),
        (None, "INTERNAL: it must not be told", Internal, "The model failed on this input."),
    ],
)
def test_a_refusal_is_an_error_of_ours_without_internals(
    code: grpc.StatusCode | None, message: str, error: type[ServiceError], sentence: str
) -> None:
    found = error_of(code, message)
    assert type(found) is error
    assert found.message == sentence
