"""What serving costs when the model costs nothing: our v2 route, the KServe SDK's, a bare ASGI function."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from pathlib import Path

from benchmarks.report import spread, table, write
from benchmarks.servers import Load, cpu_seconds, free_port, serving, wrk

ROUNDS = 5
SECONDS = 4
SERVER_CPU, CLIENT_CPU = 0, 1
BODY = '{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["hello"]}]}'
OURS, SDK, ASGI = "ours", "KServe SDK", "bare ASGI"


def main() -> None:
    ports = {name: free_port() for name in (OURS, SDK, ASGI)}
    quiet = {"QUINTET_HOST": "127.0.0.1", "QUINTET_GRPC_PORT": "0", "QUINTET_DRAIN_DELAY": "0"}
    arguments = {
        OURS: ["-m", "benchmarks.peers.empty_ours"],
        SDK: ["-m", "benchmarks.peers.empty_sdk", "--http_port", str(ports[SDK])],
        ASGI: ["-m", "benchmarks.peers.empty_asgi", str(ports[ASGI])],
    }
    environments = {
        OURS: {**quiet, "QUINTET_HTTP_PORT": str(ports[OURS])},
        SDK: {"KSERVE_LOGLEVEL": "WARNING"},
        ASGI: {},
    }
    busy: dict[str, list[Load]] = {name: [] for name in ports}
    alone: dict[str, list[Load]] = {name: [] for name in ports}
    costs: dict[str, list[float]] = {name: [] for name in ports}
    pids: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, port in ports.items():
            ready = f"http://127.0.0.1:{port}/v2/health/ready"
            server = serving(arguments[name], ready, environments[name], [SERVER_CPU])
            pids[name] = stack.enter_context(server)
        for _ in range(ROUNDS):
            for name, port in ports.items():
                url = f"http://127.0.0.1:{port}/v2/models/empty/infer"
                before = cpu_seconds(pids[name])
                load = wrk(url, BODY, connections=16, seconds=SECONDS, cpu=CLIENT_CPU, folder=folder)
                costs[name].append((cpu_seconds(pids[name]) - before) / load.requests * 1e6)
                busy[name].append(load)
                alone[name].append(wrk(url, BODY, connections=1, seconds=1, cpu=CLIENT_CPU, folder=folder))
    rates = {name: [load.requests_per_second for load in loads] for name, loads in busy.items()}
    rows = [
        (
            name,
            spread(rates[name], "{:.0f}"),
            spread([ours / theirs for ours, theirs in zip(rates[name], rates[SDK], strict=True)]),
            spread(costs[name], "{:.0f}"),
            spread([load.p50_ms for load in alone[name]], "{:.3f}"),
        )
        for name in ports
    ]
    columns = (
        "server",
        "requests/s, 16 connections",
        "times the SDK",
        "CPU us a request",
        "p50 ms, 1 connection",
    )
    ratio = statistics.median(a / b for a, b in zip(rates[OURS], rates[SDK], strict=True))
    verdict = f"Wanted: at least 5 times the SDK's rate. Found: {ratio:.1f} times.\n"
    setting = (
        f"wrk on processor {CLIENT_CPU}, each server on processor {SERVER_CPU}, {ROUNDS} rounds in turn of"
        f" {SECONDS} s; one BYTES tensor of one string. Ours does all it always does: batcher, engine thread,"
        " metrics and one log line a request.\n"
    )
    packages = ("kserve", "uvicorn", "uvloop", "orjson", "fastapi")
    path = write(
        "runtime_overhead",
        "What serving costs: an empty model over v2",
        packages,
        [setting, table(columns, rows), verdict],
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
