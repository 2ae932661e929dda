"""A worker killed without a word, at twenty points of a job: every text ends with its one mark all the same.

The processes are as they are in production, with a rule for an engine; test_vllm.py does it once with vLLM.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.test_text_evaluator import MODULE, events, item
from tests.support.evaluator import rule
from tests.support.redis import RedisServer, redis_server
from tests.support.servers import Server, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SIZE, POINTS = 200, 20
TEXTS = [" ".join(f"w{n}" for n in range(index % 23 + 1)) + f" {index}" for index in range(SIZE)]
LEASE = 3


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


def settings(folder: Path, store: str) -> dict[str, str]:
    return {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_STORE": store,
        "QUINTET_LEASE": str(LEASE),
        "QUINTET_BATCH_SIZE": "7",
        "QUINTET_MAX_NUM_SEQS": "4",
        "RULE_SECONDS": "0.01",
    }


def follow(server: Server, job: str, last: int, until: int) -> int:
    """Reads the job's stream from behind event ``last`` up to event ``until``; returns the last id seen."""
    with (
        httpx.Client(base_url=server.url, timeout=60) as http,
        http.stream("GET", f"/stream/{job}", headers={"last-event-id": str(last)}) as answer,
    ):
        for line in answer.iter_lines():
            if line.startswith("id: "):
                last = int(line[4:])
                if last >= until:
                    break
    return last


def expected() -> dict[int, tuple[int, str]]:
    return {n: (rule(text).nota, rule(text).feedback) for n, text in enumerate(TEXTS)}


def check(server: Server, job: str) -> None:
    """Complete, equal to what nothing disturbed, and each text once: in the results, and in the events."""
    with httpx.Client(base_url=server.url, timeout=60) as http:
        told = [one for one in events(http, job) if "id" in one]
        rows = http.get(f"/jobs/{job}/results", params={"limit": 2000}).json()["results"]
        status = http.get(f"/jobs/{job}").json()
    assert (status["status"], status["progress"]["completed"]) == ("completed", SIZE)
    assert len(rows) == SIZE
    assert {row["index"]: (row["nota"], row["feedback"]) for row in rows} == expected()
    streamed: list[dict[str, Any]] = [row for one in told for row in one["data"]["data"].get("results", [])]
    assert sorted(row["index"] for row in streamed) == list(range(SIZE))
    assert [int(one["id"]) for one in told] == list(range(1, len(told) + 1))
    assert told[-1]["event"] == "complete"


def post(server: Server) -> str:
    body = {"items": [item(text) for text in TEXTS]}
    return httpx.post(f"{server.url}/evaluate", json=body, timeout=60).json()["job_id"]


def test_sqlite_a_process_killed_again_and_again(folder: Path, tmp_path: Path) -> None:
    environment = settings(folder, f"sqlite:{tmp_path}/jobs.db")
    rng = random.Random(7)
    job, last = "", 0
    for point in range(POINTS):
        with running(MODULE, environment) as server:
            job = job or post(server)
            # From the event that was seen last a random few further, then no more.
            last = follow(server, job, last, last + rng.randint(1, 2))
            server.process.send_signal(signal.SIGKILL)
            server.wait()
        if last >= SIZE // 7:
            break
        assert point < POINTS
    with running(MODULE, environment) as server:
        follow(server, job, last, 10**6)
        check(server, job)


def test_redis_the_other_replica_takes_over_within_the_lease(folder: Path, redis: RedisServer) -> None:
    environment = settings(folder, redis.url)
    rng = random.Random(11)
    job, last = "", 0
    with running(MODULE, environment) as survivor:
        for _ in range(5):
            with running(MODULE, environment) as victim:
                job = job or post(victim)
                last = follow(victim, job, last, last + rng.randint(1, 3))
                victim.process.send_signal(signal.SIGKILL)
                victim.wait()
        follow(survivor, job, last, 10**6)
        check(survivor, job)


def test_a_stop_hands_over_at_once(folder: Path, redis: RedisServer) -> None:
    """SIGTERM: streams end, texts go to the other replica without waiting for the lease."""
    environment = {**settings(folder, redis.url), "QUINTET_LEASE": "300", "QUINTET_GRACE_PERIOD": "20"}
    with running(MODULE, environment) as first:
        job = post(first)
        with running(MODULE, environment) as second:
            last = follow(first, job, 0, 3)
            first.terminate()
            assert first.wait() == 0
            follow(second, job, last, 10**6)
            check(second, job)


def test_redis_frozen_for_a_while(folder: Path, redis: RedisServer) -> None:
    """It answers nothing for longer than lease and time-outs: posts are refused with 503, nothing is lost."""
    environment = settings(folder, redis.url)
    with running(MODULE, environment) as server:
        job = post(server)
        last = follow(server, job, 0, 2)
        redis.freeze()
        try:
            refused = httpx.post(f"{server.url}/evaluate", json={"items": [item("a")]}, timeout=60)
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert "retry-after" in refused.headers
        finally:
            redis.thaw()
        follow(server, job, last, 10**6)
        check(server, job)
