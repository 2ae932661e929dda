"""What is sent again, after how long, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from quintet_client import Retries, calls, errors
from quintet_client.errors import error_of, retry_after
from quintet_client.retrying import Attempts

PREDICT = calls.predict("m", ["x"])
ONCE = calls.request("POST", "/do", {})


def attempts(call: calls.Call[Any] = PREDICT, chance: float = 1.0, **retries: float) -> Attempts:
    return Attempts(call, Retries(**retries), clock=lambda: 0.0, chance=lambda: chance)  # pyright: ignore[reportArgumentType]


def answer(status: int, after: str | None = None) -> httpx.Response:
    headers = {} if after is None else {"retry-after": after}
    return httpx.Response(status, headers=headers, json={"error": "No.", "code": "c", "details": []})


def test_pauses_double_and_scatter() -> None:
    for chance in (1.0, 0.5, 0.0):
        tries = attempts(chance=chance)
        pauses = [tries.answered(answer(503)) for _ in range(3)]
        assert pauses == [chance * 0.25, chance * 0.5, chance * 1.0]
        with pytest.raises(errors.Unavailable):
            tries.answered(answer(503))


def test_retry_after_is_waited_for() -> None:
    assert attempts(chance=0.0).answered(answer(429, "3")) == 3.0
    assert 3.0 < (attempts(chance=1.0).answered(answer(429, "3")) or 0) <= 4.0


def test_one_that_asks_for_longer_than_we_wait_is_told_to_the_caller() -> None:
    with pytest.raises(errors.TooManyRequests) as raised:
        attempts().answered(answer(429, "1800"))
    assert raised.value.retry_after == 1800


def test_no_attempt_begins_after_the_time_for_all() -> None:
    with pytest.raises(errors.Unavailable):
        attempts(total=2.0).answered(answer(503, "3"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 502, 504])
def test_nothing_else_that_was_answered_is_sent_again(status: int) -> None:
    with pytest.raises(errors.ServiceError) as raised:
        attempts().answered(answer(status, "1"))
    assert raised.value.status == status


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ConnectTimeout("x"), httpx.PoolTimeout("x")]
)
def test_what_was_not_sent_is_sent_again(error: httpx.TransportError) -> None:
    assert attempts(ONCE).failed(error) == 0.25


@pytest.mark.parametrize("error", [httpx.ReadError("x"), httpx.RemoteProtocolError("x")])
def test_what_broke_is_sent_again_if_it_may_be_repeated(error: httpx.TransportError) -> None:
    assert attempts(PREDICT).failed(error) == 0.25
    with pytest.raises(errors.ConnectionFailed):
        attempts(ONCE).failed(error)


def test_a_refusal_that_does_not_invite_may_have_begun() -> None:
    """The gateway leaves Retry-After away where the model broke off in the middle."""
    assert attempts(PREDICT).answered(answer(503)) == 0.25
    assert attempts(ONCE).answered(answer(503, "1")) is not None
    assert attempts(ONCE).answered(answer(429)) is not None
    with pytest.raises(errors.Unavailable):
        attempts(ONCE).answered(answer(503))


def test_an_answer_that_is_late_is_not_asked_for_twice() -> None:
    """The model is busy with it; asking again doubles its work."""
    with pytest.raises(errors.ConnectionFailed):
        attempts(PREDICT).failed(httpx.ReadTimeout("x"))


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 27 < (retry_after(answer(503, later)) or 0) <= 30
    for nonsense in ("", "soon", "-5", "1e9"):
        assert retry_after(answer(503, nonsense)) is None


def test_an_error_says_everything_that_helps() -> None:
    response = httpx.Response(
        422,
        headers={"x-request-id": "r-1"},
        json={
            "error": "Bad.",
            "code": "invalid_value",
            "details": [{"field": "a[0]", "message": "too long"}],
        },
    )
    error = error_of(response)
    assert isinstance(error, errors.InvalidValue)
    assert str(error) == "422 invalid_value: Bad. (a[0]: too long) [request r-1]"


@pytest.mark.parametrize("body", ["<html>", "[]", '{"details": 7}', ""])
def test_an_error_of_somebody_elses(body: str) -> None:
    error = error_of(httpx.Response(503, text=body))
    assert isinstance(error, errors.Unavailable)
    assert error.details == []
