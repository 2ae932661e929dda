"""Servers and load generators of the benchmarks, each kept to its processors."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from hack.system import need

ROOT = Path(__file__).resolve().parent.parent
STARTING_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(
    arguments: Sequence[str], ready: str, environment: Mapping[str, str], cpus: Sequence[int]
) -> Iterator[int]:
    """The id of ``python ARGUMENTS`` on these processors, once ``ready`` answers 200; ended by SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, ready)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far: what a busy neighbour hardly changes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode} before it was ready.")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"{url} was not ready within {STARTING_SECONDS} s.")


@dataclass(frozen=True)
class Load:
    """One closed-loop run of wrk: capacity, not latency under load."""

    requests: int
    requests_per_second: float
    p50_ms: float


def wrk(
    url: str,
    body: str | Sequence[str],
    *,
    connections: int,
    seconds: int,
    cpu: int,
    folder: Path,
    headers: Mapping[str, str] | None = None,
) -> Load:
    """``body``: what is posted; of several, one after the other on all connections."""
    script = folder / "post.lua"
    bodies = ", ".join(f"[[{each}]]" for each in ([body] if isinstance(body, str) else body))
    sent = {"Content-Type": "application/json", **(headers or {})}
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in sent.items()]
    script.write_text(
        "\n".join(
            [
                'wrk.method = "POST"',
                *lines,
                f"local bodies, n = {{{bodies}}}, 0",
                "local requests = {}",
                "init = function()",
                "  for i, each in ipairs(bodies) do requests[i] = wrk.format(nil, nil, nil, each) end",
                "end",
                "request = function() n = n % #requests + 1; return requests[n] end",
                "",
            ]
        )
    )
    run = subprocess.run(
        [need("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, [cpu]),
    )
    if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        raise SystemExit(f"{url} did not answer all requests:\n{run.stdout}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", run.stdout)[1])  # type: ignore[index]
    requests = int(re.search(r"(\d+) requests in", run.stdout)[1])  # type: ignore[index]
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", run.stdout).groups()  # type: ignore[union-attr]
    return Load(requests, rate, float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit])
