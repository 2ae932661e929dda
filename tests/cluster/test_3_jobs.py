"""Jobs of text_evaluator: followed live through a forwarded port, and whole after their process is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hack.cluster import node
from hack.cluster.kube import until
from tests.cluster.conftest import MODELS, Release, examples, figure
from tests.cluster.test_3_disruptions import first_container

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif("text_evaluator" not in MODELS, reason="text_evaluator is not served in this run"),
]


def post(http: httpx.Client, texts: int) -> dict[str, Any]:
    (item,) = examples("text_evaluator")["domain"]["body"]["items"]
    items = [{**item, "id_alumno": f"A{n:03}"} for n in range(texts)]
    return http.post("/evaluate", json={"items": items}).raise_for_status().json()


def events(http: httpx.Client, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with http.stream("GET", job["stream_url"]) as stream:
        assert stream.status_code == 200, stream.read()
        for line in stream.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))


def client(release: Release, address: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {release.token('infer:text_evaluator')}"}
    return httpx.Client(base_url=address, headers=headers, timeout=120)


def test_a_job_is_followed_live_through_a_forwarded_port(release: Release) -> None:
    with release.forwarded() as address, client(release, address) as http:
        seen = list(events(http, post(http, 30)))
    assert seen[-1]["event"] == "complete"
    outcomes = [
        one for event in seen for kind in ("results", "errors") for one in event["data"].get(kind) or []
    ]
    assert sorted(one["index"] for one in outcomes) == list(range(30))


def test_a_stream_outlives_a_restart_of_every_gateway(release: Release) -> None:
    before = release.replicas("gateway")
    with client(release, release.address) as http:
        stream = events(http, post(http, 60))
        assert next(stream)["event"] == "progress"
        release.kubectl("rollout", "restart", "deployment/quintet-gateway")
        seen = list(stream)
    assert seen[-1]["event"] == "complete", "a gateway that ends lets streams finish that can"
    release.kubectl("rollout", "status", "deployment/quintet-gateway", "--timeout=300s")
    until(lambda: release.gone(before), 180, "the old replicas are gone")


def test_a_job_loses_nothing_when_its_process_is_killed(release: Release) -> None:
    texts = 300
    (pod,) = release.replicas("text-evaluator")
    name, container = pod["metadata"]["name"], first_container(pod)
    with client(release, release.address) as http:
        job = post(http, texts)
        for event in events(http, job):
            if event["event"] == "batch_complete":
                break
        killed = time.monotonic()
        node.inside("ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)
        until(lambda: first_container(release.get("pod", name)) != container, 90, "a new container")
        release.kubectl("wait", "--for=condition=Ready", "--timeout=400s", f"pod/{name}")
        figure("SIGKILL of text_evaluator to Ready", f"{time.monotonic() - killed:.0f} s")
        release.reached()
        *_, last = events(http, job)
        assert last["event"] == "complete"
        found: list[dict[str, Any]] = []
        while len(found) < texts:
            page = http.get(
                f"/jobs/{job['job_id']}/results", params={"after": len(found), "limit": 100}
            ).raise_for_status()
            rows = page.json()["results"]
            assert rows, page.text
            found += rows
    assert sorted(row["index"] for row in found) == list(range(texts)), "each text once"
