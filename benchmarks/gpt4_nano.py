"""gpt4_nano: what batching gains, what the transformer adds, Triton beside MLServer and the KServe SDK."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.report import spread, table, write
from benchmarks.servers import ROOT, Load, free_port, serving, wrk
from hack.system import cache_folder
from predictors.gpt4_nano import tritonserver

ROUNDS, SECONDS = 5, 3
SERVER_CPU, CLIENT_CPU = 0, 1
REPOSITORY = ROOT / "predictors" / "gpt4_nano" / "model_repository"
MLSERVER = "1.7.1"
PATH = "/v2/models/gpt4_nano/infer"
BODY = json.dumps(
    {"inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1, 1], "data": ["What is Triton?"]}]}
)
TRITON, FRONT, SDK, PEER = "Triton", "transformer before it", "KServe SDK", "MLServer"


@contextlib.contextmanager
def triton(seconds: float) -> Iterator[tritonserver.Ports]:
    """A Triton with the mock, whose batches take so many seconds."""
    ports = tritonserver.Ports(free_port(), free_port(), free_port())
    command = tritonserver.command(tritonserver.find_program(), REPOSITORY, "127.0.0.1", ports)
    environment = tritonserver.environment({**os.environ, "QUINTET_MOCK_BATCH_SECONDS": str(seconds)})
    # `serving` runs Python programs; this one becomes Triton.
    become = ["-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", *command]
    ready = f"http://127.0.0.1:{ports.http}/v2/health/ready"
    with serving(become, ready, environment, [SERVER_CPU]):
        yield ports


@contextlib.contextmanager
def transformer(grpc_port: int) -> Iterator[int]:
    port = free_port()
    environment = {
        "QUINTET_HOST": "127.0.0.1",
        "QUINTET_HTTP_PORT": str(port),
        "QUINTET_GRPC_PORT": "0",
        "QUINTET_DRAIN_DELAY": "0",
        "QUINTET_TRITON_URL": f"127.0.0.1:{grpc_port}",
    }
    ready = f"http://127.0.0.1:{port}/v2/health/ready"
    with serving(["-m", "predictors.gpt4_nano"], ready, environment, [SERVER_CPU]):
        yield port


@contextlib.contextmanager
def sdk() -> Iterator[int]:
    port = free_port()
    ready = f"http://127.0.0.1:{port}/v2/health/ready"
    arguments = ["-m", "benchmarks.peers.mock_sdk", "--http_port", str(port)]
    with serving(arguments, ready, {"KSERVE_LOGLEVEL": "WARNING"}, [SERVER_CPU]):
        yield port


@contextlib.contextmanager
def mlserver(folder: Path) -> Iterator[int]:
    """In an environment of its own: its pins are not ours."""
    home = cache_folder() / "bench" / f"mlserver-{MLSERVER}"
    python = home / "bin" / "python"
    if not python.exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(home)], check=True)
        packages = [f"mlserver=={MLSERVER}", "setuptools<79"]
        install = [uv, "pip", "install", "-q", "--python", str(python), *packages]
        subprocess.run(install, check=True, cwd=folder)
    port = free_port()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "metrics_endpoint": None,
    }
    model = {
        "name": "gpt4_nano",
        "implementation": "benchmarks.peers.mock_mlserver.MockModel",
        "max_batch_size": 8,
        "max_batch_time": 0.0001,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    become = ["-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", str(home / "bin" / "mlserver")]
    ready = f"http://127.0.0.1:{port}/v2/health/ready"
    with serving([*become, "start", str(folder)], ready, {"PYTHONPATH": str(ROOT)}, [SERVER_CPU]):
        yield port


def load(port: int, connections: int, folder: Path) -> Load:
    url = f"http://127.0.0.1:{port}{PATH}"
    return wrk(url, BODY, connections=connections, seconds=SECONDS, cpu=CLIENT_CPU, folder=folder)


def batching(folder: Path) -> tuple[str, float]:
    """Requests a second one by one and 16 at a time."""
    rows, gains = [], {}
    for seconds, name in ((0.1, "100 ms a batch"), (0.0, "nothing a batch")):
        alone, together = [], []
        with triton(seconds) as ports:
            for _ in range(ROUNDS):
                alone.append(load(ports.http, 1, folder).requests_per_second)
                together.append(load(ports.http, 16, folder).requests_per_second)
        gains[name] = [b / a for a, b in zip(alone, together, strict=True)]
        rows.append(
            (name, spread(alone, "{:.0f}"), spread(together, "{:.0f}"), spread(gains[name], "{:.1f}"))
        )
    columns = ("mock takes", "requests/s, 1 connection", "requests/s, 16 connections", "times")
    return table(columns, rows), statistics.median(gains["100 ms a batch"])


def side_by_side(folder: Path) -> tuple[str, float]:
    """All four on the mock that takes nothing; what the transformer adds to Triton's p50."""
    with contextlib.ExitStack() as stack:
        ports = stack.enter_context(triton(0))
        servers = {
            TRITON: ports.http,
            FRONT: stack.enter_context(transformer(ports.grpc)),
            SDK: stack.enter_context(sdk()),
            PEER: stack.enter_context(mlserver(folder)),
        }
        p50: dict[str, list[float]] = {name: [] for name in servers}
        rate: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, port in servers.items():
                p50[name].append(load(port, 1, folder).p50_ms)
                rate[name].append(load(port, 16, folder).requests_per_second)
    added = [front - alone for front, alone in zip(p50[FRONT], p50[TRITON], strict=True)]
    rows = [
        (
            name,
            spread(p50[name]),
            spread(rate[name], "{:.0f}"),
            spread([theirs / triton_s for theirs, triton_s in zip(rate[name], rate[TRITON], strict=True)]),
        )
        for name in servers
    ]
    columns = ("server", "p50 ms, 1 connection", "requests/s, 16 connections", "of Triton's")
    return table(columns, rows), statistics.median(added)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        gained, gain = batching(Path(scratch))
        compared, added = side_by_side(Path(scratch))
    sections = [
        f"wrk on processor {CLIENT_CPU}, every server (all its processes) on processor {SERVER_CPU},"
        f" {ROUNDS} rounds in turn of {SECONDS} s, one prompt a request; all four run the same mock.\n",
        "## What batching gains\n",
        gained,
        f"Wanted: 16 at a time at least 3.5 times one by one on the backend of 100 ms. Found: {gain:.1f}.\n",
        "## Side by side\n",
        compared,
        f"Wanted: the transformer adds at most 1.5 ms to Triton's p50. Found: {added:.2f} ms.\n",
    ]
    title = "gpt4_nano: batching, the transformer, and Triton beside its peers"
    print(write("gpt4_nano", title, ("kserve", "grpcio", "uvicorn"), sections).read_text())


if __name__ == "__main__":
    main()
