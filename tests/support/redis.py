"""A real Redis for tests, on a port of its own, that can be taken away and come back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from hack.system import need
from tests.support.servers import free_port


class RedisServer:
    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._folder, self._host, self.port = folder, host, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{self._host}:{self.port}/0"

    def start(self) -> None:
        """With every write on the disk, so that a kill loses nothing that was answered."""
        place = ["--port", str(self.port), "--bind", self._host, "--protected-mode", "no"]
        files = ["--dir", str(self._folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(
            ["redis-server", *place, *files],
            executable=need("redis-check-rdb"),
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise AssertionError("redis-server ended by itself")

    def freeze(self) -> None:
        """It stays connected and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@contextlib.contextmanager
def redis_server(folder: Path, host: str = "127.0.0.1") -> Iterator[RedisServer]:
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(folder, host)
    try:
        yield server
    finally:
        server.kill()


class Between:
    """A connection to a server that can be spoilt: it goes silent, or an answer is lost with it."""

    def __init__(self, port: int) -> None:
        self._port, self._mute, self._losing = port, False, False

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def mute(self) -> None:
        """Those connections that are there pass nothing more and say nothing of it; new ones are heard."""
        self._mute = True

    def lose_an_answer(self) -> None:
        """The next command is done, and its connection breaks before it is answered."""
        self._losing = True

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_them = await asyncio.open_connection("127.0.0.1", self._port)
        self._mute = False

        async def up() -> None:
            while data := await reader.read(65536):
                to_them.write(data)
            to_them.close()

        async def down() -> None:
            deaf = False
            while data := await theirs.read(65536):
                deaf = deaf or self._mute
                if self._losing:
                    self._losing = False
                    writer.transport.abort()
                    break
                if not deaf:
                    writer.write(data)
            writer.close()

        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(up(), down(), return_exceptions=True)
