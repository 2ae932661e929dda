"""Callers that mean no good: clear answers, bounded memory, and everybody else is served all the while."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.gateway import rawh2
from tests.gateway.calls import HEADERS_TOO_LARGE, PASSED, TOO_LARGE, V2, bearer, http
from tests.gateway.rawh2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    request,
)
from tests.gateway.small import Small, seconds_until, small

MIB = 1 << 20
CONNECTIONS = 40
#: More than any of these may leave behind; a single one of the bodies would be more.
MEMORY = 64 * MIB


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """A gateway with little patience, so that a test needs little too."""
    limits = {
        "headers_timeout": "1s",
        "request_timeout": "2s",
        "idle_timeout": "1s",
        "max_connections": CONNECTIONS,
        "max_body_bytes": MIB,
    }
    with small(tmp_path_factory.mktemp("abuse"), limits=limits) as running:
        yield running


@pytest.fixture(autouse=True)
def _unharmed(patient: Small) -> Iterator[None]:
    """After each of them: the same Envoy, of about the same size, that serves the next caller."""
    envoy, before = patient.gateway.envoy, patient.gateway.envoy.memory_info().rss
    yield
    assert patient.gateway.envoy.pid == envoy.pid
    assert envoy.memory_info().rss - before < MEMORY
    served(patient)
    patient.upstreams.do(patient.model.release.set)
    patient.model.seen.clear()


def served(patient: Small) -> None:
    V2.call(patient.gateway.port, "m", bearer(patient.token())).check(PASSED)


def connect(patient: Small) -> socket.socket:
    return socket.create_connection(("127.0.0.1", patient.gateway.port), timeout=10)


def is_closed(connection: socket.socket) -> bool:
    """Within the socket's patience."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


# --- slow ones ---------------------------------------------------------------------------------------


def test_headers_that_never_end(patient: Small) -> None:
    """Slow-loris: a header's byte now and then keeps a connection only as long as headers may take."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(patient)) for _ in range(CONNECTIONS // 2)]
        begin = time.monotonic()
        for connection in slow:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n")
        while time.monotonic() - begin < 1.5:
            for number, connection in enumerate(slow):
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"x-%d: 1\r\n" % number)
            served(patient)
            time.sleep(0.2)
        assert all(map(is_closed, slow))


def test_a_body_that_never_comes(patient: Small) -> None:
    with connect(patient) as connection:
        head = [
            "POST /do HTTP/1.1",
            "host: a",
            f"authorization: Bearer {patient.token()}",
            "content-length: 100",
        ]
        connection.sendall("\r\n".join([*head, "", "x"]).encode())
        answer = connection.recv(1 << 16)
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b'"code": "request_timeout"' in answer
    assert not patient.model.seen


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n", rawh2.PREFACE])
def test_a_connection_on_which_nothing_happens(patient: Small, sent: bytes) -> None:
    with connect(patient) as connection:
        connection.sendall(sent)
        assert is_closed(connection)


def test_a_half_open_connection(patient: Small) -> None:
    """A caller that dies in the middle of its headers, with a reset in place of a goodbye."""
    with connect(patient) as connection:
        connection.sendall(b"POST /do HTTP/1.1\r\nhost: a\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert not patient.model.seen


def test_more_connections_than_there_may_be(patient: Small) -> None:
    """Those over the number are closed at once, and probes still get through; then there is room again."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(patient)) for _ in range(CONNECTIONS + 10)]
        seconds_until(lambda: patient.gateway.metric("downstream_global_cx_overflow") >= 10, 5)
        live = httpx.get(f"http://127.0.0.1:{patient.gateway.monitoring}/live")
        assert live.status_code == 200
        assert len(opened) > CONNECTIONS
    seconds_until(lambda: _can_connect(patient), 10)


def _can_connect(patient: Small) -> bool:
    try:
        return http(patient.gateway.port, "GET", "/health").status == 200
    except (OSError, httpx.HTTPError):
        return False


# --- large ones --------------------------------------------------------------------------------------


def upload(patient: Small, token: str | None, size: int) -> bytes:
    """Sends until it is stopped; returns the beginning of the answer."""
    with connect(patient) as connection:
        authorization = f"authorization: Bearer {token}\r\n" if token else ""
        head = f"POST /do HTTP/1.1\r\nhost: a\r\n{authorization}content-length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        chunk = os.urandom(MIB)
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(size // MIB):
                connection.sendall(chunk)
        with contextlib.suppress(ConnectionError, TimeoutError):
            return connection.recv(1 << 16)
    return b""


@pytest.mark.parametrize(("with_token", "expected"), [(True, b" 413 "), (False, b" 401 ")])
def test_bodies_of_a_hundred_megabytes(patient: Small, with_token: bool, expected: bytes) -> None:
    """Refused when the limit is crossed, or at once; a caller that goes on sending is cut off."""
    token = patient.token() if with_token else None
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: upload(patient, token, 100 * MIB), range(4)))
    for answer in filter(None, answers):
        assert expected in answer.split(b"\r\n")[0]
    assert not patient.model.seen


def test_a_hundred_megabytes_are_refused_with_words(patient: Small) -> None:
    """A client that looks at the answer before it has sent everything sees why."""
    answer = http(patient.gateway.port, "POST", "/do", bearer(patient.token()), b"x" * (2 * MIB))
    answer.check(TOO_LARGE)


def test_a_thousand_headers(patient: Small) -> None:
    many = [(f"x-{number}", "1") for number in range(1000)]
    http(patient.gateway.port, "GET", "/health", many).check(HEADERS_TOO_LARGE)


def test_one_header_of_a_megabyte(patient: Small) -> None:
    with connect(patient) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\nx: " + b"y" * MIB)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(1 << 16)
    assert not answer or b" 431 " in answer.split(b"\r\n")[0]


def test_a_path_of_a_megabyte(patient: Small) -> None:
    with connect(patient) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /" + b"a" * MIB + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(1 << 16)
    assert not answer or answer.split(b" ")[1] in (b"400", b"414", b"431")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00" * 4096,
        b"\xff" * 4096,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        b"POST /do HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(64),
    ],
)
def test_what_is_no_http(patient: Small, sent: bytes) -> None:
    with connect(patient) as connection:
        connection.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(1 << 16)
    assert not answer or answer.split(b" ")[1] in (b"400", b"401", b"404", b"408", b"426", b"431")
    assert not patient.model.seen


# --- HTTP/2 ------------------------------------------------------------------------------------------

GET = frame(HEADERS, END_HEADERS | END_STREAM, 1, request())

#: What RFC 9113 calls a connection error: the connection ends.
CONNECTION_ERRORS = {
    "data before any stream": frame(DATA, 0, 1, b"x"),
    "data on stream 0": frame(DATA, 0, 0, b"x"),
    "headers on stream 0": frame(HEADERS, END_HEADERS, 0, request()),
    "headers on an even stream": frame(HEADERS, END_HEADERS, 2, request()),
    "streams that go backwards": frame(HEADERS, END_HEADERS | END_STREAM, 5, request())
    + frame(HEADERS, END_HEADERS | END_STREAM, 3, request()),
    "a frame larger than allowed": frame(DATA, 0, 1, b"", length=(1 << 24) - 1) + b"x" * 65536,
    "padding longer than its frame": GET + frame(HEADERS, END_HEADERS | PADDED, 3, b"\xff" + request()),
    "settings with a body that is none": frame(SETTINGS, 0, 0, b"12345"),
    "settings on a stream": frame(SETTINGS, 0, 1),
    "an acknowledgement with a body": frame(SETTINGS, ACK, 0, b"123456"),
    "a window beyond its limit": frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)),
    "a ping of the wrong length": frame(PING, 0, 0, b"1234567"),
    "a ping on a stream": frame(PING, 0, 1, b"12345678"),
    "a reset of an idle stream": frame(RST_STREAM, 0, 1, b"\0\0\0\0"),
    "a window update of nothing": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
    "window updates that overflow": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "a push from a client": frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + request()),
    "a continuation of nothing": frame(CONTINUATION, END_HEADERS, 1, request()),
    "something between a header and its continuation": frame(HEADERS, 0, 1, request())
    + frame(PING, 0, 0, b"12345678"),
    "headers that are no HPACK": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff"),
    "an index that HPACK does not have": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xfe"),
    "another preface": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
}


@pytest.mark.parametrize("case", CONNECTION_ERRORS)
def test_frames_that_end_their_connection(patient: Small, case: str) -> None:
    with rawh2.connected(patient.gateway.port, CONNECTION_ERRORS[case]) as connection:
        kinds = rawh2.kinds_until_closed(connection)
    assert HEADERS not in kinds or case in ("streams that go backwards", "padding longer than its frame")


#: Headers that make a good request none: it is reset or answered with an error, or its connection ends.
NO_REQUESTS: dict[str, tuple[str, str]] = {
    "two paths": (":path", "/v2/models/m"),
    "an unknown pseudo-header": (":protocol", "websocket"),
    "upper case": ("X-Upper", "1"),
    "a connection header": ("connection", "keep-alive"),
    "a transfer encoding": ("transfer-encoding", "chunked"),
    "a line break in a value": ("x", "a\r\nx-quintet-subject: root"),
    "a zero in a value": ("x", "a\0b"),
    "a blank in a name": ("x y", "1"),
    "an underscore": ("x_quintet_subject", "root"),
}


def do(patient: Small, *more: tuple[str, str], path: str = "/do") -> bytes:
    """A call that would reach the model."""
    return request(("authorization", f"Bearer {patient.token()}"), *more, path=path, method="POST")


def test_the_good_request_reaches_the_model(patient: Small) -> None:
    with rawh2.connected(
        patient.gateway.port, frame(HEADERS, END_HEADERS | END_STREAM, 1, do(patient))
    ) as made:
        assert rawh2.kinds_until(made, HEADERS)[-1] == HEADERS
    assert len(patient.model.seen) == 1


@pytest.mark.parametrize("case", NO_REQUESTS)
def test_requests_that_are_none(patient: Small, case: str) -> None:
    sent = frame(HEADERS, END_HEADERS | END_STREAM, 1, do(patient, NO_REQUESTS[case]))
    with rawh2.connected(patient.gateway.port, sent) as connection:
        rawh2.kinds_until(connection, RST_STREAM, HEADERS, GOAWAY)
    assert not patient.model.seen


@pytest.mark.parametrize("path", ["", "do", "*", "//do/../../etc/passwd", "/do\0"])
def test_paths_that_are_none(patient: Small, path: str) -> None:
    sent = frame(HEADERS, END_HEADERS | END_STREAM, 1, do(patient, path=path))
    with rawh2.connected(patient.gateway.port, sent) as connection:
        rawh2.kinds_until(connection, RST_STREAM, HEADERS, GOAWAY)
    assert not patient.model.seen


def opened_and_reset(count: int) -> bytes:
    """CVE-2023-44487: a stream costs its opener nothing, and the other side a request."""
    return b"".join(
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, request())
        + frame(RST_STREAM, 0, 2 * n + 1, b"\0\0\0\x08")
        for n in range(count)
    )


FLOODS = {
    "rapid resets": opened_and_reset(3000),
    "pings": frame(PING, 0, 0, b"12345678") * 20_000,
    "settings": frame(SETTINGS) * 20_000,
    "empty data": frame(HEADERS, END_HEADERS, 1, request(method="POST", path="/do"))
    + frame(DATA, 0, 1) * 20_000,
    "priorities": b"".join(frame(PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\x10") for n in range(20_000)),
    "endless continuations": frame(HEADERS, 0, 1, request())
    + b"".join(frame(CONTINUATION, 0, 1, rawh2.hpack((f"x-{n}", "y" * 1000))) for n in range(2_000)),
}


@pytest.mark.parametrize("case", FLOODS)
def test_floods_end_their_connection(patient: Small, case: str) -> None:
    with rawh2.connected(patient.gateway.port, FLOODS[case]) as connection:
        kinds = rawh2.kinds_until_closed(connection)
    assert kinds.count(PING) < 20_000
    assert not patient.model.seen or case == "rapid resets"


def test_more_streams_than_a_connection_may_have(tmp_path: Path) -> None:
    """The hundred that are allowed are served, what is over is refused, and the connection goes on."""
    with small(tmp_path) as patient:  # has more patience: a stream that ends makes room
        headers = ("authorization", f"Bearer {patient.token()}")
        hold = request(headers, path="/do?hold", method="POST")
        streams = [frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, hold) for n in range(150)]
        with rawh2.connected(patient.gateway.port, *streams) as connection:
            assert RST_STREAM in rawh2.kinds_until(connection, RST_STREAM)
            seconds_until(lambda: len(patient.model.seen) >= 100, 30)
            assert len(patient.model.seen) == 100
        served(patient)
        patient.upstreams.do(patient.model.release.set)
