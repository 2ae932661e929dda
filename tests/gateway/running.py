"""The real thing as a child process: `python -m gateway serve` with a config of the test's own."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.gateway.fakes import free_port

START_SECONDS = 30


@dataclass
class Running:
    """A gateway that is up. `log` is what it has said on stderr, `lines` its access log."""

    port: int
    admin: int
    portal: int
    monitoring: int
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def wait_for_line(self, part: str) -> str:
        """The access log's line that holds `part`; Envoy writes it out once in a while."""
        until = time.monotonic() + 15
        while time.monotonic() < until:
            for line in reversed(self.lines):
                if part in line:
                    return line
            time.sleep(0.05)  # a line of a pipe cannot be awaited without a second reader
        raise AssertionError(f"no line of the access log has {part}")

    def metric(self, part: str, label: str = "") -> float:
        """The sum of all metrics whose names end so, as Prometheus would read them."""
        text = httpx.get(f"http://127.0.0.1:{self.monitoring}/metrics", timeout=10).text
        values = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return sum(
            float(value) for name, value in values if name.split("{")[0].endswith(part) and label in name
        )

    @property
    def envoy(self) -> psutil.Process:
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(15)


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


def with_free_ports(config: dict[str, Any]) -> dict[str, Any]:
    ports = {name: {"port": free_port()} for name in ("listen", "admin", "portal")}
    # Nobody routes around a test's gateway, so it need not linger.
    return ports | {"drain": {"delay": 0, "grace": "5s"}} | config


@contextlib.contextmanager
def gateway(folder: Path, config: dict[str, Any], module: str = "gateway") -> Iterator[Running]:
    """Serves `config` (ports are chosen) until the block ends, and then nothing of it may be left."""
    config = with_free_ports(config)
    process = subprocess.Popen(
        [sys.executable, "-m", module, "serve", "--config", str(write_config(folder, config))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    port, admin, portal = (config[name]["port"] for name in ("listen", "admin", "portal"))
    monitoring = config.get("monitoring", {}).get("port", 0)
    running = Running(port, admin, portal, monitoring, process)
    said: queue.Queue[str | None] = queue.Queue()
    readers = [
        threading.Thread(target=_read, args=(process.stderr, running.log, said)),
        threading.Thread(target=_read, args=(process.stdout, running.lines, None)),
    ]
    for reader in readers:
        reader.start()
    try:
        while "gateway ready" not in (line := said.get(timeout=START_SECONDS) or "ended"):
            assert line != "ended", "".join(running.log)
        yield running
    finally:
        running.stop()
        for reader in readers:
            reader.join()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _read(stream: Any, lines: list[str], to: queue.Queue[str | None] | None) -> None:
    for line in stream:
        lines.append(line)
        if to is not None:
            to.put(line)
    if to is not None:
        to.put(None)
