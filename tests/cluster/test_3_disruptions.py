"""Under open-loop load: what is planned loses no request, what is not is over soon."""

from __future__ import annotations

import contextlib
import time

import pytest

from hack.cluster import node
from hack.cluster.kube import until
from tests.cluster import registry
from tests.cluster.conftest import MODELS, Release, figure
from tests.support.charts import Object

pytestmark = pytest.mark.timeout(1200)

BACK_SECONDS = 90.0
"""After a SIGKILL, until a single replica answers again: start, load, probes, DNS."""


def first_container(pod: Object) -> str:
    return pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")


@pytest.mark.parametrize("model", MODELS)
def test_a_rolling_restart_of_a_predictor_loses_no_request(release: Release, model: str) -> None:
    component = model.replace("_", "-")
    before = release.replicas(component)
    with release.traffic(model) as running:
        # `kubectl rollout restart` writes into the Deployment, where KServe takes it back at once.
        release.kubectl(
            "annotate", "inferenceservice", component, f"quintet/restarted={time.time():.0f}", "--overwrite"
        )
        until(lambda: len(release.replicas(component)) > len(before), 60, "a new replica")
        release.kubectl("rollout", "status", f"deployment/{component}-predictor", "--timeout=300s")
        until(lambda: release.gone(before), 180, "the old replica is gone")
    figure(f"rolling restart of {model}: failed", running.report.share)
    assert running.report.failed == 0, running.report.counts


def test_a_rolling_restart_of_the_gateway_loses_no_request(release: Release) -> None:
    before = release.replicas("gateway")
    with release.traffic(MODELS[0]) as running:
        release.kubectl("rollout", "restart", "deployment/quintet-gateway")
        release.kubectl("rollout", "status", "deployment/quintet-gateway", "--timeout=300s")
        until(lambda: release.gone(before), 180, "the old replicas are gone")
    figure("rolling restart of the gateway: failed", running.report.share)
    assert running.report.failed == 0, running.report.counts


def test_new_images_of_everything_lose_no_request(release: Release) -> None:
    """`helm upgrade` to another tag of every image at once, with callers of every model."""
    components = [*(model.replace("_", "-") for model in MODELS), "gateway"]
    for name in (*components, "demo-models"):
        registry.tag(f"quintet/{name}", "0.1.0", "0.1.1-e2e")
    before = [pod for component in components for pod in release.replicas(component)]
    with contextlib.ExitStack() as stack:
        running = {model: stack.enter_context(release.traffic(model, rate=2)) for model in MODELS}
        release.upgrade("--set", "global.imageTag=0.1.1-e2e")
        until(lambda: release.gone(before), 600, "all that ran the old images is gone")
        release.ready()
    for component in components:
        (image,) = {pod["spec"]["containers"][0]["image"] for pod in release.replicas(component)}
        assert image.endswith(":0.1.1-e2e")
    for model, traffic in running.items():
        figure(f"new images of everything, callers of {model}: failed", traffic.report.share)
    assert not sum(traffic.report.failed for traffic in running.values()), {
        model: traffic.report.counts for model, traffic in running.items()
    }


@pytest.mark.parametrize("model", MODELS)
def test_a_killed_predictor_is_back_soon(release: Release, model: str) -> None:
    component = model.replace("_", "-")
    pod = release.replicas(component)[0]
    name, container = pod["metadata"]["name"], first_container(pod)
    with release.traffic(model) as running:
        killed = time.monotonic()
        node.inside("ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)
        until(lambda: first_container(release.get("pod", name)) != container, 60, "a new container")
        release.kubectl("wait", "--for=condition=Ready", f"--timeout={BACK_SECONDS:.0f}s", f"pod/{name}")
        figure(f"SIGKILL of {model} to Ready", f"{time.monotonic() - killed:.0f} s")
        until(lambda: running.report.outcomes[-1][1] == 200, BACK_SECONDS, "answers again")
    report = running.report
    figure(f"SIGKILL of {model}: failed", f"{report.share}, longest outage {report.longest_outage:.0f} s")
    assert report.longest_outage < BACK_SECONDS


def test_a_killed_gateway_is_back_and_the_other_goes_on(release: Release) -> None:
    """Only what that one had in flight may fail."""
    pods = release.replicas("gateway")
    assert len(pods) >= 2
    name, container = pods[0]["metadata"]["name"], first_container(pods[0])
    with release.traffic(MODELS[0]) as running:
        killed = time.monotonic()
        node.inside("ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)
        until(lambda: first_container(release.get("pod", name)) != container, 60, "a new container")
        release.kubectl("wait", "--for=condition=Ready", "--timeout=90s", f"pod/{name}")
        figure("SIGKILL of a gateway to Ready", f"{time.monotonic() - killed:.0f} s")
    report = running.report
    figure("SIGKILL of a gateway: failed", f"{report.share}, longest outage {report.longest_outage:.1f} s")
    assert report.longest_outage < 10
