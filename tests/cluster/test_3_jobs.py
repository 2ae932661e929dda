"""Jobs of text_evaluator: followed live through a forwarded port, and whole after their process is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster import node
from hack.cluster.kube import until
from hack.cluster.places import HOST_IP
from predictors.text_evaluator.client import evaluate
from tests.cluster.conftest import MODELS, Release, examples, figure
from tests.cluster.test_3_disruptions import first_container
from tests.support.redis import redis_server

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif("text_evaluator" not in MODELS, reason="text_evaluator is not served in this run"),
]


def items(texts: int) -> list[dict[str, str]]:
    (item,) = examples("text_evaluator")["domain"]["body"]["items"]
    return [{**item, "id_alumno": f"A{n:03}"} for n in range(texts)]


def post(http: httpx.Client, texts: int) -> dict[str, Any]:
    return http.post("/evaluate", json={"items": items(texts)}).raise_for_status().json()


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


@pytest.fixture
def shared(release: Release, tmp_path: Path) -> Iterator[Release]:
    """Two replicas with one store, a Redis that exists already outside the cluster."""
    with redis_server(tmp_path, HOST_IP) as store:
        release.secret("jobs-store", url=store.url)
        before = release.replicas("text-evaluator")
        scale = "models.text_evaluator.autoscaling"
        values = ("store.secret=jobs-store", f"store.port={store.port}", f"{scale}.min=2", f"{scale}.max=2")
        release.upgrade(*(word for value in values for word in ("--set", value)))
        try:
            until(lambda: release.gone(before), 400, "the replica with a store of its own is gone")
            release.ready()
            release.kubectl("rollout", "status", "deployment/text-evaluator-predictor", "--timeout=400s")
            yield release
        finally:
            release.helm("rollback", release.name)
            release.ready()


def test_jobs_go_on_while_every_replica_that_shares_them_is_replaced(shared: Release) -> None:
    """One after the other, with the client that follows a job from replica to replica."""
    before, token, jobs = shared.replicas("text-evaluator"), shared.token("infer:text_evaluator"), 0
    assert len(before) == 2
    restarted = f"quintet/restarted={time.time():.0f}"
    shared.kubectl("annotate", "inferenceservice", "text-evaluator", restarted, "--overwrite")
    until(lambda: len(shared.replicas("text-evaluator")) > 2, 60, "a new replica")
    while not shared.gone(before):
        outcomes = list(evaluate(items(300), shared.address, token=token))
        assert sorted(row["index"] for row in outcomes) == list(range(300)), "each text once"
        jobs += 1
    figure("rolling restart of two text_evaluators with one store", f"{jobs} jobs of 300 texts, none lost")
    assert jobs > 0
