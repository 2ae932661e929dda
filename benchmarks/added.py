"""What a caller pays over HTTP on top of a direct call of the engine, measured in one way for every model."""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from benchmarks.report import spread, table
from benchmarks.servers import cpu_seconds

DIRECT = "direct call"
HTTPX, BARE = "httpx", "a bare socket"
CLIENTS_NOTE = (
    f"Each way is called by {HTTPX}, whose own work counts as well, and by {BARE}, which has next to none of"
    " its own."
)
Way = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """Medians of each round in ms, by way; the first way is the direct call."""

    medians: Mapping[str, list[float]]
    direct_cpu: float
    """CPU ms of one direct call."""

    def added(self, way: str) -> list[float]:
        return [here - direct for here, direct in zip(self.medians[way], self.medians[DIRECT], strict=True)]

    def table(self) -> str:
        rows = [
            (way, spread(values, "{:.3f}"), spread(self.added(way), "{:.3f}"))
            for way, values in self.medians.items()
        ]
        return table(("way", "p50 ms", "more than the direct call, ms"), rows)


def in_turn(direct: Way, ways: Mapping[str, Way], *, rounds: int, calls: int) -> Measured:
    """Call by call in turn, so that a moment's noise falls on all of them; one round more to warm up.

    A direct call goes before each of the others: what comes second of two calls at one server finds its
    weights in the caches, as neither the direct call nor the first does.
    """
    medians: dict[str, list[float]] = {name: [] for name in (DIRECT, *ways)}
    cpu: list[float] = []
    for _ in range(rounds + 1):
        times: dict[str, list[float]] = {name: [] for name in medians}
        used = 0.0
        for _ in range(calls):
            for name, way in ways.items():
                before = time.process_time()
                times[DIRECT].append(_milliseconds(direct))
                used += time.process_time() - before
                times[name].append(_milliseconds(way))
        cpu.append(used * 1000 / len(times[DIRECT]))
        for name, values in times.items():
            medians[name].append(statistics.median(values))
    return Measured({name: values[1:] for name, values in medians.items()}, statistics.median(cpu[1:]))


def _milliseconds(way: Way) -> float:
    began = time.perf_counter()
    way()
    return (time.perf_counter() - began) * 1000


def over_http(
    direct: Way, address: str, path: str, body: bytes, pid: int, *, rounds: int, calls: int
) -> tuple[Measured, str]:
    """Both clients beside the direct call, and a sentence on CPU time, which noise moves least."""
    with posting(address, path, body) as ways:
        before = cpu_seconds(pid)
        measured = in_turn(direct, ways, rounds=rounds, calls=calls)
        served = (cpu_seconds(pid) - before) * 1000 / ((rounds + 1) * calls * len(ways))
    return measured, (
        f"CPU time: {measured.direct_cpu:.2f} ms a direct call, {served:.2f} ms of the server's a request."
    )


@contextlib.contextmanager
def posting(
    address: str, path: str, body: bytes, headers: Mapping[str, str] | None = None, name: str = "{}"
) -> Iterator[dict[str, Way]]:
    """The same request by both clients, each on a connection it keeps; ``name``: theirs goes into it."""
    sent = {"content-type": "application/json", **(headers or {})}
    where = urlsplit(address)
    assert where.hostname is not None
    assert where.port is not None
    with (
        httpx.Client(base_url=address, headers=sent) as client,
        socket.create_connection((where.hostname, where.port)) as connection,
    ):
        request = client.build_request("POST", path, content=body)

        def by_httpx() -> None:
            response = client.send(request)
            assert response.status_code == 200, response.text

        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [
            f"POST {path} HTTP/1.1",
            f"host: {where.netloc}",
            f"content-length: {len(body)}",
            *(f"{key}: {value}" for key, value in sent.items()),
        ]
        message = "\r\n".join([*lines, "", ""]).encode() + body

        def by_socket() -> None:
            connection.sendall(message)
            answer = _answer(connection)
            assert answer.startswith(b"HTTP/1.1 200 "), answer

        yield {name.format(HTTPX): by_httpx, name.format(BARE): by_socket}


def _answer(connection: socket.socket) -> bytes:
    """Head and body of one answer that says its length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head = received[: received.index(b"\r\n\r\n") + 4]
    length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    while len(received) < len(head) + length:
        received += _more(connection)
    return received


def _more(connection: socket.socket) -> bytes:
    if not (chunk := connection.recv(1 << 16)):
        raise SystemExit("The server closed the connection.")
    return chunk
