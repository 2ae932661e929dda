"""Many at once: jobs, readers, texts; and a reader that does not read. A rule stands for the engine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.test_text_evaluator import MODULE, item
from tests.support.rule import rule
from tests.support.servers import Server, running

JOBS, READERS = 50, 500
LONG = "paraula " * 350


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_STORE": f"sqlite:{tmp_path_factory.mktemp('jobs')}/jobs.db",
        "MAX_MODEL_LEN": "8192",
    }
    with running(MODULE, settings) as server:
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        yield client


async def post(http: httpx.AsyncClient, texts: list[str]) -> str:
    answer = await http.post("/evaluate", json={"items": [item(text) for text in texts]})
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]


Event = tuple[int, str, dict[str, Any]]


async def follow(port: int, job: str) -> AsyncIterator[Event]:
    """Id, name and data of a job's events, over a bare connection: hundreds of clients would be heavy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(f"GET /stream/{job} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    number, name = 0, ""
    while line := await reader.readline():
        field, _, value = line.decode().rstrip().partition(": ")
        match field:
            case "event":
                name = value
            case "id":
                number = int(value)
            case "data":
                yield number, name, json.loads(value)["data"] if name != "error" else {}
    writer.close()


async def marks(port: int, job: str) -> dict[int, tuple[int, str]]:
    """All of a job's marks as its stream tells them, each once and in the order of the events."""
    found: dict[int, tuple[int, str]] = {}
    names, ids = [], []
    async for number, name, data in follow(port, job):
        names.append(name)
        ids += [number] if number else []
        for row in data.get("results", []):
            assert row["index"] not in found
            found[row["index"]] = (row["nota"], row["feedback"])
    assert ids == list(range(1, len(ids) + 1))
    assert names[-1] == "complete"
    return found


def expected(texts: list[str]) -> dict[int, tuple[int, str]]:
    return {index: (rule(text).nota, rule(text).feedback) for index, text in enumerate(texts)}


async def metric(http: httpx.AsyncClient, name: str) -> float:
    lines = (await http.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


async def test_fifty_jobs_at_once_and_not_one_text_in_the_wrong_one(
    server: Server, http: httpx.AsyncClient
) -> None:
    texts = [[f"{'paraula ' * (n % 7)}job {job} text {n}" for n in range(40)] for job in range(JOBS)]
    jobs = await asyncio.gather(*(post(http, each) for each in texts))
    assert len(set(jobs)) == JOBS
    found = await asyncio.gather(*(marks(server.http_port, job) for job in jobs))
    assert found == [expected(each) for each in texts]


async def test_five_hundred_readers_of_one_job_are_told_all_of_it(
    server: Server, http: httpx.AsyncClient
) -> None:
    texts = [f"text {n}" for n in range(100)]
    job = await post(http, [*texts, "!wait"])  # its end is when all have read the rest
    told, everybody = 0, asyncio.Event()

    async def read() -> tuple[dict[int, tuple[int, str]], str]:
        nonlocal told
        found: dict[int, tuple[int, str]] = {}
        names = []
        async for _, name, data in follow(server.http_port, job):
            names.append(name)
            for row in data.get("results", []):
                assert row["index"] not in found
                found[row["index"]] = (row["nota"], row["feedback"])
            if len(found) == len(texts) and name == "batch_complete":
                told += 1
                if told == READERS:
                    everybody.set()
        return found, names[-1]

    readers = [asyncio.create_task(read()) for _ in range(READERS)]
    await asyncio.wait_for(everybody.wait(), 60)
    assert await metric(http, "quintet_sse_readers") == READERS
    await http.delete(f"/jobs/{job}")
    for found, last in await asyncio.gather(*readers):
        assert (found, last) == (expected(texts), "error")


async def test_a_reader_that_does_not_read_holds_nobody_up_and_misses_nothing(
    server: Server, http: httpx.AsyncClient
) -> None:
    """Megabytes wait for it in the store, not in the process, and are there when it reads on."""
    texts = [f"{LONG} {n}" for n in range(2000)]
    job = await post(http, texts)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.http_port))
        slow.sendall(f"GET /stream/{job} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        assert await marks(server.http_port, job) == expected(texts)
        assert await metric(http, "quintet_sse_readers") == 1, "what it was not sent yet is not in a buffer"
        told = await asyncio.to_thread(_rest, slow)
    ids = [int(line[4:]) for line in told.splitlines() if line.startswith(b"id: ")]
    assert ids == list(range(1, len(ids) + 1))
    assert told.count(b'"nota"') == len(texts)
    assert b"event: complete" in told


def _rest(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


async def test_jobs_of_two_thousand_texts_leave_the_memory_as_it_was(
    server: Server, http: httpx.AsyncClient
) -> None:
    sizes = []
    for number in range(3):
        texts = [f"text {number} {n}" for n in range(2000)]
        assert await marks(server.http_port, await post(http, texts)) == expected(texts)
        sizes.append(server.rss_kib())
    # The first ones fill pools and caches.
    assert sizes[2] - sizes[1] < 8 * 1024
