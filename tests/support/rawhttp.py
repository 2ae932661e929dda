"""A caller that costs next to nothing itself, for tests in which the server's limit is the point."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    seconds: float


class Connection:
    """One keep-alive HTTP/1.1 connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: bytes) -> Reply:
        started = time.perf_counter()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        await self._reader.readexactly(int(headers["content-length"]))
        return Reply(int(lines[0].split()[1]), headers, time.perf_counter() - started)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def open_loop(port: int, path: str, body: bytes, *, rate: float, seconds: float) -> list[Reply]:
    """Requests at a constant arrival rate, whatever the answers take; each on a free or a new connection."""
    free: list[Connection] = []
    replies: list[Reply] = []

    async def one() -> None:
        connection = free.pop() if free else await Connection.open(port)
        replies.append(await connection.post(path, body))
        free.append(connection)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        sent = 0
        while (elapsed := time.perf_counter() - started) < seconds:
            while sent < elapsed * rate:
                group.create_task(one())
                sent += 1
            await asyncio.sleep(0.002)
    for connection in free:
        await connection.close()
    return replies
