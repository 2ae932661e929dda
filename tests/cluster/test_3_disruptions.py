"""Under open-loop load: what is planned loses no request, what is not is over soon."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from hack.cluster import node
from hack.cluster.kube import until
from tests.cluster import registry
from tests.cluster.conftest import MODELS, Release, figure
from tests.support.charts import Object

pytestmark = pytest.mark.timeout(1200)

BACK_SECONDS = 90.0
"""After a SIGKILL, until a single replica answers again: start, load, probes, DNS."""
IN_FLIGHT_SECONDS = 5.0
"""A call of the example is answered within, on a busy machine too."""
LED_SECONDS = 10.0
"""Until no connection is led to a gateway that is dead: kubelet, endpoints, kube-proxy."""
FORGOTTEN_SECONDS = 45.0
"""Until no gateway knows a replica that is not ready: the kubelet, 30 s of DNS, 5 s of Envoy's."""


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


def test_new_images_of_everything_and_back_lose_no_request(release: Release) -> None:
    """`helm upgrade` to another tag of every image at once, then `helm rollback`: every model has callers."""
    components = [*(model.replace("_", "-") for model in MODELS), "gateway"]
    for name in (*components, "demo-models"):
        registry.tag(f"quintet/{name}", "0.1.0", "0.1.1-e2e")

    def replaced(*command: str) -> set[str]:
        """The images that run when all that ran before is gone."""
        before = [pod for component in components for pod in release.replicas(component)]
        release.helm(*command)
        until(lambda: release.gone(before), 600, "all that ran the other images is gone")
        release.ready()
        after = [pod for component in components for pod in release.replicas(component)]
        return {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in after}

    with contextlib.ExitStack() as stack:
        running = {model: stack.enter_context(release.traffic(model, rate=2)) for model in MODELS}
        assert replaced(*release.upgrading("--set", "global.imageTag=0.1.1-e2e")) == {"0.1.1-e2e"}
        assert replaced("rollback", release.name) == {"0.1.0"}
    for model, traffic in running.items():
        figure(f"new images of everything and back, callers of {model}: failed", traffic.report.share)
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
        _kill(container)
        until(lambda: first_container(release.get("pod", name)) != container, 60, "a new container")
        release.kubectl("wait", "--for=condition=Ready", f"--timeout={BACK_SECONDS:.0f}s", f"pod/{name}")
        figure(f"SIGKILL of {model} to Ready", f"{time.monotonic() - killed:.0f} s")
        until(lambda: running.report.outcomes[-1][1] == 200, BACK_SECONDS, "answers again")
    report = running.report
    figure(f"SIGKILL of {model}: failed", f"{report.share}, longest outage {report.longest_outage:.0f} s")
    assert report.longest_outage < BACK_SECONDS


@pytest.fixture
def two_of_gpt2(release: Release) -> Iterator[list[Object]]:
    """Both known to every gateway."""
    release.upgrade("--set", "models.gpt2.autoscaling.min=2")
    try:
        release.kubectl(
            "wait", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=300s", "deployment/gpt2-predictor"
        )
        until(lambda: set(release.known("gpt2")) == {2}, 90, "every gateway knows both replicas")
        yield release.replicas("gpt2")
    finally:
        release.helm("rollback", release.name)
        release.ready()


@pytest.mark.skipif("gpt2" not in MODELS, reason="gpt2 is not served in this run")
def test_a_killed_replica_leaves_its_callers_to_the_other(
    release: Release, two_of_gpt2: list[Object]
) -> None:
    """What it had in flight fails. Until DNS has forgotten it and while it loads again, each gateway tries it
    three times before it holds off for 15 s. What is refused at the door goes to the other and fails nobody.
    """
    rate, gateways = 5.0, len(release.replicas("gateway"))
    pod = two_of_gpt2[0]
    name, container = pod["metadata"]["name"], first_container(pod)
    with release.traffic("gpt2", rate, spread=True) as running:
        until(lambda: running.report.begun(0, time.monotonic()) > rate, 60, "calls are under way")
        killed = time.monotonic()
        _kill(container)
        until(lambda: first_container(release.get("pod", name)) != container, 60, "a new container")
        release.kubectl("wait", "--for=condition=Ready", f"--timeout={BACK_SECONDS:.0f}s", f"pod/{name}")
        until(lambda: time.monotonic() > killed + FORGOTTEN_SECONDS + 5, 60, "DNS's old answers are over")
    report = running.report
    failures = [at - killed for at in report.failures()]
    figure("SIGKILL of one of two replicas of gpt2: failed", f"{report.share}, at {_seconds(failures)} s")
    assert all(-IN_FLIGHT_SECONDS < at < FORGOTTEN_SECONDS for at in failures), failures
    in_flight = [at for at in failures if at < IN_FLIGHT_SECONDS]
    assert len(in_flight) <= 2 * rate, "half of what is asked in four seconds, at most"
    assert len(failures) - len(in_flight) <= 3 * gateways * FORGOTTEN_SECONDS / 15, report.counts


def test_a_killed_gateway_is_back_and_the_other_goes_on(release: Release) -> None:
    """What that one had in flight fails, and new connections for as long as they are led to it: until the
    kubelet has seen its end and kube-proxy's rules have followed. The other's callers notice nothing."""
    pods = release.replicas("gateway")
    assert len(pods) >= 2
    name, container = pods[0]["metadata"]["name"], first_container(pods[0])
    with release.traffic(MODELS[0], spread=True) as running:
        until(lambda: running.report.begun(0, time.monotonic()) > 10, 60, "calls are under way")
        killed = time.monotonic()
        _kill(container)
        until(lambda: first_container(release.get("pod", name)) != container, 60, "a new container")
        release.kubectl("wait", "--for=condition=Ready", "--timeout=90s", f"pod/{name}")
        figure("SIGKILL of a gateway to Ready", f"{time.monotonic() - killed:.0f} s")
        until(lambda: time.monotonic() > killed + LED_SECONDS + 5, 60, "calls after it")
    report = running.report
    failures = [at - killed for at in report.failures()]
    figure("SIGKILL of a gateway: failed", f"{report.share}, at {_seconds(failures)} s")
    assert all(-IN_FLIGHT_SECONDS < at < LED_SECONDS for at in failures), failures
    # One in two connections is led to it, by chance; the other half never fails.
    led = report.begun(killed - IN_FLIGHT_SECONDS, killed + LED_SECONDS)
    assert len(failures) < 0.75 * led, report.counts


def _kill(container: str) -> None:
    node.inside("ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)


def _seconds(times: list[float]) -> str:
    """The first and the last, after the kill."""
    return f"{times[0]:.1f} to {times[-1]:.1f}" if times else "no"
