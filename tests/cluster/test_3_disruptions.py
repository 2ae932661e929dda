"""Under open-loop load: what is planned loses no request, what is not is over soon."""

from __future__ import annotations

import time

import pytest

from hack.cluster import node
from hack.cluster.kube import until
from tests.cluster.conftest import MODELS, Release, examples
from tests.cluster.traffic import Traffic
from tests.support.charts import Object

pytestmark = pytest.mark.timeout(1200)

BACK_SECONDS = 90.0
"""After a SIGKILL, until a single replica answers again: start, load, probes, DNS."""


def traffic(release: Release, model: str, rate: float = 5.0) -> Traffic:
    example = examples(model)["v1"]
    return Traffic(release.address, example["path"], example["body"], release.token(), rate)


def replicas(release: Release, component: str) -> list[Object]:
    """The pods that are not about to end."""
    pods = release.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def gone(release: Release, pods: list[Object]) -> bool:
    """The load goes on until the last second of what was there before."""
    there = {pod["metadata"]["name"] for pod in release.get("pods")["items"]}
    return not there & {pod["metadata"]["name"] for pod in pods}


def first_container(pod: Object) -> str:
    return pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")


@pytest.mark.parametrize("model", MODELS)
def test_a_rolling_restart_of_a_predictor_loses_no_request(release: Release, model: str) -> None:
    component = model.replace("_", "-")
    deployment, before = f"deployment/{component}-predictor", replicas(release, component)
    with traffic(release, model) as running:
        # `kubectl rollout restart` writes into the Deployment, where KServe takes it back at once.
        release.kubectl(
            "annotate", "inferenceservice", component, f"quintet/restarted={time.time():.0f}", "--overwrite"
        )
        until(lambda: len(replicas(release, component)) > len(before), 60, "a new replica")
        release.kubectl("rollout", "status", deployment, "--timeout=300s")
        until(lambda: gone(release, before), 180, "the old replica is gone")
    assert running.report.failed == 0, running.report.counts
    print(f"{model}: {running.report.counts}")


def test_a_rolling_restart_of_the_gateway_loses_no_request(release: Release) -> None:
    before = replicas(release, "gateway")
    with traffic(release, MODELS[0]) as running:
        release.kubectl("rollout", "restart", "deployment/quintet-gateway")
        release.kubectl("rollout", "status", "deployment/quintet-gateway", "--timeout=300s")
        until(lambda: gone(release, before), 180, "the old replicas are gone")
    assert running.report.failed == 0, running.report.counts
    print(f"gateway: {running.report.counts}")


@pytest.mark.parametrize("model", MODELS)
def test_a_killed_predictor_is_back_soon(release: Release, model: str) -> None:
    component = model.replace("_", "-")
    pod = replicas(release, component)[0]
    name, container = pod["metadata"]["name"], first_container(pod)
    with traffic(release, model) as running:
        node.inside("ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)
        until(lambda: first_container(release.get("pod", name)) != container, 60, "a new container")
        killed = time.monotonic()
        release.ready(120)
        until(lambda: running.report.outcomes[-1][1] == 200, BACK_SECONDS, "answers again")
        print(f"{model}: ready {time.monotonic() - killed:.0f} s after the new container began")
    print(f"{model}: {running.report.counts}, longest outage {running.report.longest_outage:.0f} s")
    assert running.report.longest_outage < BACK_SECONDS


def test_a_killed_gateway_is_back_and_the_other_goes_on(release: Release) -> None:
    """Only what that one had in flight may fail."""
    pods = replicas(release, "gateway")
    assert len(pods) >= 2
    name, container = pods[0]["metadata"]["name"], first_container(pods[0])
    with traffic(release, MODELS[0]) as running:
        node.inside("ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)
        until(lambda: first_container(release.get("pod", name)) != container, 60, "a new container")
        release.kubectl("wait", "--for=condition=Ready", "--timeout=90s", f"pod/{name}")
    print(f"gateway: {running.report.counts}, longest outage {running.report.longest_outage:.1f} s")
    assert running.report.longest_outage < 10
