"""A stream passes as it comes, and ends upstream when the caller goes."""

from __future__ import annotations

import time
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from tests.gateway import running
from tests.gateway.calls import bearer
from tests.gateway.conftest import World
from tests.gateway.fakes import FakeModel, Upstreams
from tests.gateway.small import new_signer, one_model


def stream(world: World, query: str) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", world.port, timeout=10)
    connection.request("GET", f"/stream/job-1{query}", headers=dict(bearer(world.token())))
    return connection


def test_each_event_arrives_before_the_next_is_sent(world: World) -> None:
    """Nothing on the way may wait for more: the next event is sent only after the last was read here."""
    connection = stream(world, "?events=5")
    response = connection.getresponse()
    assert response.status == 200
    for number in range(5):
        assert response.readline() == f"data: {number}\n".encode()
        assert response.readline() == b"\n"
        world.upstreams.do(world.m1.release.set)
    assert response.read() == b""
    connection.close()


def test_a_caller_that_hangs_up_is_gone_upstream_too(world: World) -> None:
    connection = stream(world, "?hold")
    assert world.m1.held.wait(10)
    connection.close()
    assert world.m1.gone.wait(1)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_stream_of_an_event_a_second_lasts(world: World) -> None:
    """Past Envoy's 15 s for a route, and the 60 s at which proxies like to cut what is still going."""
    begin = time.monotonic()
    connection = stream(world, "?ticks=90")
    events = [line for line in connection.getresponse() if line.startswith(b"data: ")]
    assert events == [f"data: {number}\n".encode() for number in range(90)]
    assert time.monotonic() - begin >= 89
    connection.close()


def test_a_stream_that_never_ends_is_cut(tmp_path: Path) -> None:
    """However lively: what a caller keeps open for ever is kept from others."""
    model, signer = FakeModel("m"), new_signer()
    config = one_model(tmp_path, model, signer)
    config["models"]["m"]["timeouts"] = {"stream": "1500ms"}
    with Upstreams(model).running(), running.gateway(tmp_path, config) as gateway:
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request("GET", "/stream/1?ticks=30", headers=dict(bearer(signer.token("infer:m"))))
        response = connection.getresponse()
        assert response.status == 200
        with pytest.raises(IncompleteRead) as raised:
            response.read()
        assert raised.value.partial.startswith(b"data: 0\n")
        assert b"data: 3\n" not in raised.value.partial
        assert gateway.wait_for_line("max_duration_timeout")
        connection.close()


def test_a_stream_that_falls_silent_is_cut(world: World) -> None:
    """A model that says nothing for longer than `stream_idle`, not even a heartbeat, is not coming back."""
    connection = stream(world, "?events=2")
    response = connection.getresponse()
    with pytest.raises(IncompleteRead):
        response.read()
    assert world.gateway.wait_for_line("stream_idle_timeout")
    connection.close()
