"""HTTP/2 by hand: frames that no library would send."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, END_HEADERS, ACK, PADDED = 0x1, 0x4, 0x1, 0x8


def frame(
    kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None
) -> bytes:
    """`length` may lie about the payload's."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hpack(*headers: tuple[str, str]) -> bytes:
    """Literals without indexing or Huffman coding; the simplest a decoder must take."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers)


def _string(text: str) -> bytes:
    data = text.encode("latin-1")
    return _integer(len(data)) + data


def _integer(value: int) -> bytes:
    """With a prefix of seven bits."""
    if value < 127:
        return bytes([value])
    out, value = bytearray([127]), value - 127
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def request(*more: tuple[str, str], path: str = "/health", method: str = "GET") -> bytes:
    named = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "gateway.test")]
    return hpack(*named, *more)


@contextlib.contextmanager
def connected(port: int, *frames: bytes) -> Iterator[socket.socket]:
    """A connection on which the preface, empty settings and `frames` have been sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with contextlib.suppress(ConnectionError):  # it may be closed before all is sent
            connection.sendall(PREFACE + frame(SETTINGS))
            for one in frames:
                connection.sendall(one)
        yield connection


def kinds_until_closed(connection: socket.socket) -> Sequence[int]:
    """The kinds of frames that came before the other side closed; TimeoutError when it does not."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(1 << 16):
            received += chunk
    kinds: list[int] = []
    while len(received) >= 9:
        size = int.from_bytes(received[:3], "big")
        kinds.append(received[3])
        received = received[9 + size :]
    return kinds


def kinds_until(connection: socket.socket, *wanted: int) -> Sequence[int]:
    """The same, up to the first frame of a kind that is `wanted`."""
    kinds: list[int] = []
    received = b""
    while True:
        while len(received) >= 9 and len(received) >= 9 + (size := int.from_bytes(received[:3], "big")):
            kinds.append(received[3])
            received = received[9 + size :]
            if kinds[-1] in wanted:
                return kinds
        try:
            chunk = connection.recv(1 << 16)
        except ConnectionError:
            return kinds
        if not chunk:
            return kinds
        received += chunk
