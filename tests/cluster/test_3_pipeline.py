"""gpt4_nano's requests over Kafka: the consumer beside the predictor loses none when either is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hack.cluster import node
from hack.cluster.kube import until
from hack.cluster.places import HOST_IP
from hack.kafka import Broker
from tests.cluster.conftest import MODELS, Release
from tests.support.servers import free_port

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif("gpt4_nano" not in MODELS, reason="gpt4_nano is not served in this run"),
]
REQUESTS = 60


@pytest.fixture
def piped(release: Release, tmp_path: Path) -> Iterator[Release]:
    """With a broker that exists already, outside the cluster."""
    broker = Broker(tmp_path, free_port(), free_port(), host=HOST_IP)
    broker.start()
    try:
        before = release.replicas("gpt4-nano")
        release.upgrade("--set", f"kafka.brokers={broker.bootstrap}")
        until(lambda: release.gone(before), 300, "the replica without a consumer is gone")
        release.ready()
        yield release
    finally:
        release.helm("rollback", release.name)
        release.ready()
        broker.stop()


def containers(release: Release) -> dict[str, str]:
    """Id by name."""
    (pod,) = release.replicas("gpt4-nano")
    return {
        one["name"]: one["containerID"].removeprefix("containerd://")
        for one in pod["status"]["containerStatuses"]
        if one.get("containerID")
    }


def test_no_request_is_lost_when_consumer_and_predictor_are_killed(piped: Release) -> None:
    release = piped
    assert set(containers(release)) == {"kserve-container", "consumer"}
    headers = {"authorization": f"Bearer {release.token('infer:gpt4_nano')}"}
    with httpx.Client(base_url=release.address, headers=headers, timeout=60) as http:

        def post(name: str) -> int:
            body = {"request_id": name, "payload": {"prompt": "What is machine learning?"}}
            return http.post("/infer", json=body).status_code

        until(lambda: post("r0") in (202, 409), 120, "the broker is reached")
        for n in range(1, REQUESTS):
            until(lambda n=n: post(f"r{n}") in (202, 409), 120, "a request that failed is sent again")
            if n in (REQUESTS // 3, 2 * REQUESTS // 3):
                name = "consumer" if n == REQUESTS // 3 else "kserve-container"
                node.inside(
                    "ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", containers(release)[name]
                )
        found: dict[str, httpx.Response] = {}

        def all_answered() -> bool:
            for name in (f"r{n}" for n in range(REQUESTS) if f"r{n}" not in found):
                answer = http.get(f"/result/{name}")
                if answer.status_code == 200:
                    found[name] = answer
            return len(found) == REQUESTS

        until(all_answered, 300, "every request has its result")
    assert all(answer.json()["success"] for answer in found.values()), found["r0"].text
