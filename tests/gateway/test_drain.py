"""SIGTERM loses no request: not ready, still serving, then only what is in flight, then the end."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from tests.gateway.small import Load, Small, seconds_until, small

DELAY, GRACE = 1.0, 5.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Small]:
    with small(tmp_path, drain={"delay": DELAY, "grace": GRACE}) as running:
        yield running


def ready(small: Small) -> int:
    return httpx.get(f"http://127.0.0.1:{small.gateway.monitoring}/ready").status_code


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def held(small: Small, path: str = "/do?hold") -> HTTPConnection:
    """A call that is in flight until the model lets go."""
    connection = HTTPConnection("127.0.0.1", small.gateway.port, timeout=20)
    method = "POST" if path.startswith("/do") else "GET"
    connection.request(method, path, headers={"authorization": f"Bearer {small.token()}"})
    assert small.model.held.wait(10)
    return connection


def test_what_is_in_flight_is_finished(running: Small) -> None:
    assert ready(running) == 200
    connection = held(running)
    running.gateway.process.send_signal(signal.SIGTERM)
    seconds_until(lambda: ready(running) == 503, DELAY)
    # Whoever has not heard yet that we are going is still served, and asked to come back elsewhere.
    answer = httpx.get(
        f"{running.address}/v2/models/m", headers={"authorization": f"Bearer {running.token()}"}
    )
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    seconds_until(lambda: not listens(running.gateway.port), DELAY + 3)
    assert running.gateway.process.poll() is None, "it waits for the call"
    running.upstreams.do(running.model.release.set)
    assert connection.getresponse().status == 200
    assert running.gateway.process.wait(GRACE) == 0
    connection.close()


def test_callers_that_come_anew_for_each_call_lose_none_before_it_stops_listening(running: Small) -> None:
    load = Load(running.address, running.token)
    with load.running(callers=1):
        load.wait_for(20)
        running.gateway.process.send_signal(signal.SIGTERM)
        seconds_until(lambda: not listens(running.gateway.port), DELAY + 3)
        # From here on connections are refused, which is safe to repeat elsewhere.
        running.gateway.process.wait(GRACE)
    first_lost = next((i for i, a in enumerate(load.answers) if a != 200), len(load.answers))
    # The first may have been in the kernel's queue when the socket closed.
    assert load.answers[first_lost] in ("ConnectError", "ReadError")
    assert set(load.answers[first_lost + 1 :]) <= {"ConnectError"}
    assert first_lost > 20


def test_a_stream_that_does_not_end_is_cut_after_the_grace(running: Small) -> None:
    connection = held(running, "/stream/1?hold")
    begin = time.monotonic()
    running.gateway.process.send_signal(signal.SIGTERM)
    assert running.gateway.process.wait(DELAY + GRACE + 5) == 0
    assert time.monotonic() - begin >= DELAY + GRACE
    connection.close()


def test_a_second_signal_ends_it_at_once(running: Small) -> None:
    connection = held(running)
    running.gateway.process.send_signal(signal.SIGTERM)
    seconds_until(lambda: ready(running) == 503, DELAY)
    waited = threading.Thread(target=running.gateway.process.wait)
    waited.start()
    running.gateway.process.send_signal(signal.SIGTERM)
    waited.join(DELAY + 2)
    assert running.gateway.process.returncode == 0
    connection.close()
