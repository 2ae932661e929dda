"""Faults of the body, of the upstream and of load, over every transport and in the one error shape."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.calls import (
    DEADLINE,
    OVERLOADED,
    PASSED,
    TOO_LARGE,
    TRANSPORTS,
    UNAVAILABLE,
    V2,
    Grpc,
    Transport,
    bearer,
    http,
)
from tests.gateway.conftest import MAX_BODY, World

EVERY = pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)


def payload(transport: Transport, size: int) -> bytes:
    """gRPC puts five bytes before a message, and they count."""
    return b"x" * (size - 5 if isinstance(transport, Grpc) else size)


@EVERY
def test_a_body_of_exactly_the_limit_passes_whole(world: World, transport: Transport) -> None:
    body = payload(transport, MAX_BODY)
    transport.call(world.port, "m1", bearer(world.token()), body).check(PASSED)
    assert world.m1.seen[0].body == body


@EVERY
def test_a_body_of_one_byte_more_is_refused(world: World, transport: Transport) -> None:
    answer = transport.call(world.port, "m1", bearer(world.token()), payload(transport, MAX_BODY + 1))
    answer.check(TOO_LARGE)
    assert str(MAX_BODY) in answer.sentence
    assert not world.m1.seen


def test_a_body_without_a_length_is_limited_too(world: World) -> None:
    headers = [("transfer-encoding", "chunked"), *bearer(world.token())]
    chunk = b"%x\r\n%s\r\n" % (MAX_BODY, b"x" * MAX_BODY)
    http(world.port, "POST", "/domain/m1", headers, chunk + chunk + b"0\r\n\r\n", length=False).check(
        TOO_LARGE
    )
    assert not world.m1.seen


@pytest.mark.parametrize(
    "headers",
    [
        [("transfer-encoding", "chunked"), ("content-length", "5")],
        [("content-length", "5"), ("content-length", "50")],
        [("transfer-encoding", "xchunked")],
        [("content-length", "-1")],
    ],
)
def test_two_readings_of_a_body_are_refused(world: World, headers: list[tuple[str, str]]) -> None:
    """Where two proxies read a length differently, one caller's body becomes another's request."""
    answer = http(
        world.port, "POST", "/domain/m1", [*headers, *bearer(world.token())], b"0\r\n\r\n", length=False
    )
    assert answer.status in (400, 501)
    assert set(answer.body) == {"error", "code", "details"}
    assert not world.m1.seen


@EVERY
def test_a_model_that_is_not_there(world: World, transport: Transport) -> None:
    answer = transport.call(world.port, "down", bearer(world.token("infer:down")))
    answer.check(UNAVAILABLE)
    assert int(answer.headers["retry-after"]) >= 1


@EVERY
def test_a_model_that_does_not_answer_in_time(world: World, transport: Transport) -> None:
    headers = bearer(world.token("infer:slow"))
    transport.call(world.port, "slow", headers, b"hold", "?hold").check(DEADLINE)
    assert len(world.slow.seen) == 1, "it may have begun to work, so it is not asked again"


@EVERY
def test_a_model_that_has_all_it_can_take(world: World, transport: Transport) -> None:
    """The second call is refused at once, and the first is none the worse for it."""
    headers = bearer(world.token("infer:busy"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(transport.call, world.port, "busy", headers, b"hold", "?hold")
        assert world.busy.held.wait(10)
        second = transport.call(world.port, "busy", headers)
        world.upstreams.do(world.busy.release.set)
        second.check(OVERLOADED)
        assert int(second.headers["retry-after"]) >= 1
        first.result().check(PASSED)


def test_http_1_0_is_too_old(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b" 426 " in answer.split(b"\r\n")[0]
    assert b'"code": "malformed"' in answer


def test_a_lone_upstream_is_never_taken_out(world: World) -> None:
    """Ejecting the only one there is would make its errors an outage."""
    for _ in range(20):
        V2.call(world.port, "m1", bearer(world.token()), query="?status=500")
    V2.call(world.port, "m1", bearer(world.token())).check(PASSED)
    assert len(world.m1.seen) == 21


def test_what_the_model_answers_is_handed_on_as_it_is(world: World) -> None:
    """An error of the model's is its own to word."""
    answer = V2.call(world.port, "m1", bearer(world.token()), query="?status=503")
    assert (answer.status, answer.body) == (
        503,
        {"error": "not ready", "code": "x", "details": ["of the model"]},
    )
    assert len(world.m1.seen) == 1
