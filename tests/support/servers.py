"""Predictor processes for tests: started on free ports, awaited by their own log, ended by their id."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One predictor process and the JSON lines it logs."""

    def __init__(
        self, module: str, environment: Mapping[str, str] | None = None, python: Path | None = None
    ) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        settings = {
            "QUINTET_HOST": "127.0.0.1",
            "QUINTET_HTTP_PORT": str(self.http_port),
            "QUINTET_GRPC_PORT": str(self.grpc_port),
            "QUINTET_DRAIN_DELAY": "0",
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("QUINTET_")}
        self.process = subprocess.Popen(
            [str(python or sys.executable), "-m", module],
            cwd=ROOT,
            env={**inherited, **settings, **(environment or {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []
        self._news: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def wait_for(self, message: str, seconds: float = 60) -> dict[str, Any]:
        """The next logged line with this message; fails when the process ends or time runs out first."""
        while True:
            line = self._news.get(timeout=seconds)
            if line is None:
                raise AssertionError(
                    f"ended with {self.process.wait()} before {message!r}: {self.lines[-5:]}"
                )
            if line["message"] == message:
                return line

    def wait_until_listening(self, seconds: float = 60) -> None:
        """Returns when the HTTP port takes connections."""
        self.wait_for("Listening.", seconds)

    def wait_until_ready(self, seconds: float = 60) -> None:
        self.wait_for("Ready.", seconds)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 30) -> int:
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=5)
        return code

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"message": text.rstrip(), "level": "TEXT"}
            self.lines.append(line)
            self._news.put(line)
        self._news.put(None)


@contextlib.contextmanager
def running(
    module: str,
    environment: Mapping[str, str] | None = None,
    *,
    ready: bool = True,
    python: Path | None = None,
    seconds: float = 60,
) -> Iterator[Server]:
    """``python``: of the model's own environment, if it has one; ``seconds``: it may take to be ready."""
    server = Server(module, environment, python)
    try:
        if ready:
            server.wait_until_ready(seconds)
        yield server
    finally:
        if server.process.poll() is None:
            server.terminate()
            try:
                server.wait()
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.wait()
