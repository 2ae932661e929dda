"""How much one caller may ask of one model: over every transport together, and at nobody else's cost."""

from __future__ import annotations

import itertools
import time
from http.client import HTTPConnection

import pytest

from tests.gateway.calls import (
    DEADLINE,
    FORBIDDEN,
    PASSED,
    RATE_LIMITED,
    TOO_LARGE,
    TRANSPORTS,
    Grpc,
    Header,
    Transport,
    bearer,
    http,
)
from tests.gateway.conftest import BURST, CAPPED_BODY, STREAMS, World

EVERY = pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)
_names = (f"caller-{number}" for number in itertools.count())


@pytest.fixture
def caller(world: World) -> list[Header]:
    """Somebody who has asked for nothing yet."""
    return bearer(world.token("infer:*", sub=next(_names)))


@EVERY
def test_a_caller_over_its_rate(world: World, transport: Transport, caller: list[Header]) -> None:
    answers = [transport.call(world.port, "capped", caller) for _ in range(BURST + 1)]
    for left, answer in zip(range(BURST - 1, -1, -1), answers[:BURST], strict=True):
        answer.check(PASSED)
        assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == (
            str(BURST),
            str(left),
        )
    refused = answers[-1]
    refused.check(RATE_LIMITED)
    assert refused.headers["retry-after"] == "1800", "two an hour: half an hour until the next"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert len(world.capped.seen) == BURST


def test_the_transports_share_one_rate(world: World, caller: list[Header]) -> None:
    for transport in TRANSPORTS[:BURST]:
        transport.call(world.port, "capped", caller).check(PASSED)
    for transport in TRANSPORTS:
        transport.call(world.port, "capped", caller).check(RATE_LIMITED)


@EVERY
def test_one_callers_rate_is_nobody_elses(world: World, transport: Transport, caller: list[Header]) -> None:
    for _ in range(BURST + 1):
        transport.call(world.port, "capped", caller)
    transport.call(world.port, "capped", bearer(world.token("infer:*", sub=next(_names)))).check(PASSED)
    transport.call(world.port, "m1", caller).check(PASSED)


def test_the_same_subject_of_another_issuer_is_somebody_else(world: World) -> None:
    name = next(_names)
    for signer in (world.signers.shared, world.signers.es256):
        headers = bearer(signer.token("infer:capped", sub=name))
        for _ in range(BURST):
            http(world.port, "GET", "/v2/models/capped", headers).check(PASSED)
        http(world.port, "GET", "/v2/models/capped", headers).check(RATE_LIMITED)


def test_a_new_token_is_no_new_caller(world: World) -> None:
    name = next(_names)
    tokens = [world.token("infer:capped", sub=name, jti=str(number)) for number in range(BURST + 1)]
    answers = [http(world.port, "GET", "/v2/models/capped", bearer(token)) for token in tokens]
    answers[-1].check(RATE_LIMITED)


@EVERY
def test_who_is_refused_uses_nothing_up(world: World, transport: Transport) -> None:
    """Otherwise anybody could spend a caller's rate in their name."""
    name = next(_names)
    for _ in range(BURST + 1):
        transport.call(world.port, "capped", bearer(world.token("infer:m1", sub=name)))
    transport.call(world.port, "capped", bearer(world.token("infer:capped", sub=name))).check(PASSED)


def test_a_model_without_a_rate_says_nothing_of_one(world: World, caller: list[Header]) -> None:
    answer = http(world.port, "GET", "/v2/models/m1", caller)
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


# --- streams -----------------------------------------------------------------------------------------


def open_stream(world: World, headers: list[Header]) -> HTTPConnection | None:
    """Answered and still going; None when it was refused for there being too many."""
    connection = HTTPConnection("127.0.0.1", world.port, timeout=10)
    connection.request("GET", "/stream-of-flow/1?events=2", headers=dict(headers))
    response = connection.getresponse()
    if response.status == 429:
        return connection.close()
    assert (response.status, response.readline()) == (200, b"data: 0\n")
    return connection


def fill(world: World, headers: list[Header]) -> list[HTTPConnection]:
    opened = [open_stream(world, headers) for _ in range(STREAMS + 1)]
    assert opened.pop() is None
    return [connection for connection in opened if connection]


def open_again(world: World, headers: list[Header], within: float) -> HTTPConnection:
    """An end is heard of a moment later."""
    until = time.monotonic() + within
    while (connection := open_stream(world, headers)) is None:
        assert time.monotonic() < until, "the stream that ended is still counted"
        time.sleep(0.02)
    return connection


def test_a_caller_has_so_many_streams_at_once(world: World, caller: list[Header]) -> None:
    opened = fill(world, caller)
    refused = http(world.port, "GET", "/stream-of-flow/1?events=2", caller)
    refused.check(RATE_LIMITED)
    assert "streams" in refused.sentence
    assert int(refused.headers["retry-after"]) >= 1
    opened += fill(world, bearer(world.token("infer:flow", sub=next(_names))))
    for connection in opened:
        connection.close()


def test_a_caller_that_hangs_up_makes_room(world: World, caller: list[Header]) -> None:
    opened = fill(world, caller)
    opened.pop().close()
    opened.append(open_again(world, caller, within=2))
    assert open_stream(world, caller) is None, "for one, and no more"
    for connection in opened:
        connection.close()


def test_a_stream_that_ends_makes_room(world: World, caller: list[Header]) -> None:
    """These end by themselves, and their connections stay."""
    for _ in range(2 * STREAMS):
        answer = http(world.port, "GET", "/stream-of-flow/1?events=0", caller)
        if answer.status != 200:
            answer.check(RATE_LIMITED)
            time.sleep(0.5)
    open_again(world, caller, within=2).close()


def test_only_streams_are_counted_as_streams(world: World, caller: list[Header]) -> None:
    opened = fill(world, caller)
    for _ in range(2 * STREAMS):
        http(world.port, "GET", "/v2/models/flow", caller).check(PASSED)
    for connection in opened:
        connection.close()


def test_a_stream_without_a_right_is_not_counted(world: World) -> None:
    name = next(_names)
    for _ in range(STREAMS + 1):
        http(world.port, "GET", "/stream-of-flow/1", bearer(world.token("infer:m1", sub=name))).check(
            FORBIDDEN
        )
    for connection in fill(world, bearer(world.token("infer:flow", sub=name))):
        connection.close()


# --- bodies ------------------------------------------------------------------------------------------


@EVERY
def test_a_model_may_have_a_smaller_body_limit(
    world: World, transport: Transport, caller: list[Header]
) -> None:
    """Over HTTP/2 to the frame that crosses it, which is 16 KiB at most."""
    framing, frame = (5, 1 << 14) if isinstance(transport, Grpc) else (0, 0)
    transport.call(world.port, "capped", caller, b"x" * (CAPPED_BODY - framing)).check(PASSED)
    answer = transport.call(world.port, "capped", caller, b"x" * (CAPPED_BODY - framing + frame + 1))
    answer.check(TOO_LARGE)
    assert str(CAPPED_BODY) in answer.sentence
    transport.call(world.port, "m1", caller, b"x" * (CAPPED_BODY + 1)).check(PASSED)


def test_time_is_limited_by_the_routes_kind(world: World) -> None:
    """A job must be taken at once though the model may be slow to answer other calls, and the reverse."""
    headers = bearer(world.token("infer:m1"))
    begin = time.monotonic()
    http(world.port, "GET", "/jobs/1?hold", headers).check(DEADLINE)
    job = time.monotonic() - begin
    http(world.port, "POST", "/domain/m1?hold", headers, b"{}").check(DEADLINE)
    assert job < time.monotonic() - begin - job
