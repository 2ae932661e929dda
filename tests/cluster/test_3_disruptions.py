"""Under open-loop load: what is planned loses no request, what is not is over soon."""

from __future__ import annotations

import time

import pytest

from hack.cluster import node
from hack.cluster.kube import until
from tests.cluster.conftest import MODELS, Release, examples
from tests.cluster.traffic import Traffic

pytestmark = pytest.mark.timeout(1200)

BACK_SECONDS = 90.0
"""After a SIGKILL, until a single replica answers again: start, load, probes, DNS."""


def traffic(release: Release, model: str, rate: float = 5.0) -> Traffic:
    example = examples(model)["v1"]
    return Traffic(release.address, example["path"], example["body"], release.token(), rate)


def container_id(release: Release, selector: str) -> str:
    (pod,) = (
        pod
        for pod in release.get("pods", "-l", selector)["items"]
        if "deletionTimestamp" not in pod["metadata"]
    )
    return pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")


@pytest.mark.parametrize("model", MODELS)
def test_a_rolling_restart_of_a_predictor_loses_no_request(release: Release, model: str) -> None:
    deployment = f"deployment/{model.replace('_', '-')}-predictor"
    with traffic(release, model) as running:
        release.kubectl("rollout", "restart", deployment)
        release.kubectl("rollout", "status", deployment, "--timeout=300s")
        old = f"serving.kserve.io/inferenceservice={model.replace('_', '-')}"
        until(lambda: len(release.get("pods", "-l", old)["items"]) == 1, 180, "the old replica is gone")
    assert running.report.failed == 0, running.report.counts
    print(f"{model}: {running.report.counts}")


def test_a_rolling_restart_of_the_gateway_loses_no_request(release: Release) -> None:
    with traffic(release, MODELS[0]) as running:
        release.kubectl("rollout", "restart", "deployment/quintet-gateway")
        release.kubectl("rollout", "status", "deployment/quintet-gateway", "--timeout=300s")
        pods = ("pods", "-l", "app.kubernetes.io/component=gateway")
        until(lambda: len(release.get(*pods)["items"]) == 2, 180, "the old replicas are gone")
    assert running.report.failed == 0, running.report.counts
    print(f"gateway: {running.report.counts}")


@pytest.mark.parametrize("model", MODELS)
def test_a_killed_predictor_is_back_soon(release: Release, model: str) -> None:
    selector = f"serving.kserve.io/inferenceservice={model.replace('_', '-')}"
    container = container_id(release, selector)
    with traffic(release, model) as running:
        node.inside("ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)
        until(lambda: container_id(release, selector) != container, 60, "a new container")
        killed = time.monotonic()
        release.ready(120)
        until(lambda: running.report.outcomes[-1][1] == 200, BACK_SECONDS, "answers again")
        print(f"{model}: ready {time.monotonic() - killed:.0f} s after the new container began")
    print(f"{model}: {running.report.counts}, longest outage {running.report.longest_outage:.0f} s")
    assert running.report.longest_outage < BACK_SECONDS
