"""Two replicas on one Redis, as processes with all their routes: stopped, and with the store away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.test_text_evaluator import MODULE, events, item
from tests.support.redis import RedisServer, redis_server
from tests.support.rule import rule
from tests.support.servers import Server, running

pytestmark = pytest.mark.timeout(600)

SIZE = 200
TEXTS = [" ".join(f"w{n}" for n in range(index % 23 + 1)) + f" {index}" for index in range(SIZE)]
LEASE = 3
SLACK = 1.0
"""Seconds: the machine may be busy."""


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


def post(server: Server) -> str:
    body = {"items": [item(text) for text in TEXTS]}
    return httpx.post(f"{server.url}/evaluate", json=body, timeout=60).json()["job_id"]


def check(server: Server, job: str) -> None:
    """Every text once, with its own mark."""
    with httpx.Client(base_url=server.url, timeout=60) as http:
        told = [one for one in events(http, job) if "id" in one]
        rows = http.get(f"/jobs/{job}/results", params={"limit": 2000}).json()["results"]
    marks = {row["index"]: (row["nota"], row["feedback"]) for row in rows}
    assert marks == {n: (rule(text).nota, rule(text).feedback) for n, text in enumerate(TEXTS)}
    assert len(rows) == SIZE
    assert [int(one["id"]) for one in told] == list(range(1, len(told) + 1))
    assert told[-1]["event"] == "complete"


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


@pytest.mark.slow
def test_a_kill_hands_over_within_the_lease(folder: Path, redis: RedisServer) -> None:
    """SIGKILL of one of two: what it held goes on at the other, whose stream has no gap and no repeat."""
    # An event is told a second after its first text is finished, at the latest.
    environment = {**settings(folder, redis.url), "RULE_SECONDS": "0.1"}
    with running(MODULE, environment) as first, running(MODULE, environment) as second:
        jobs = [post(first), post(first)]
        held = [follow(second, job, 0, 3) for job in jobs]  # both are worked at, each by one
        first.process.kill()
        killed = time.monotonic()
        first.wait()
        for job, last in zip(jobs, held, strict=True):
            follow(second, job, last, last + 2)
        # An event that was on its way, then one behind the takeover: of seven texts by four at a time.
        assert time.monotonic() - killed < LEASE + 1 + 2 * SLACK
        for job, last in zip(jobs, held, strict=True):
            follow(second, job, last, 10**6)
            check(second, job)


@pytest.mark.slow
def test_redis_away_for_twenty_seconds(folder: Path, redis: RedisServer) -> None:
    """Killed and started again: the same stream goes on to the end, with no gap and no repeat."""
    environment = {**settings(folder, redis.url), "QUINTET_LEASE": "30"}
    with (
        running(MODULE, environment) as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        job = post(server)
        with http.stream("GET", f"/stream/{job}") as answer:
            lines = answer.iter_lines()
            first = next(line for line in lines if line.startswith("id: "))
            redis.kill()
            try:
                refused = httpx.post(f"{server.url}/evaluate", json={"items": [item("a")]}, timeout=60)
                assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
                time.sleep(20)
            finally:
                redis.start()
            rest = list(lines)
        ids = [int(line[4:]) for line in [first, *rest] if line.startswith("id: ")]
        assert ids == list(range(1, len(ids) + 1))
        assert "event: complete" in rest
        check(server, job)


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
