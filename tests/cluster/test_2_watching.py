"""What can be seen of it: Debian's Prometheus with the chart's scrape config, and what each pod takes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml

from hack.cluster import images
from hack.cluster.kube import Kube, until
from tests.cluster import registry
from tests.cluster.conftest import MODELS, Release, figure

pytestmark = pytest.mark.timeout(900)

Query = Callable[[str], list[dict[str, Any]]]


@contextlib.contextmanager
def prometheus(kube: Kube, config: str) -> Iterator[Query]:
    """In a namespace of its own; the chart's policies let it in by its label."""
    namespace = "monitoring"
    metadata = {
        "name": "prometheus",
        "namespace": namespace,
        "labels": {"app.kubernetes.io/name": "prometheus"},
    }
    container = {
        "name": "prometheus",
        "image": images.push_prometheus(print),
        "args": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/data"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/prometheus"}],
    }
    pod = {"containers": [container], "volumes": [{"name": "config", "configMap": {"name": "prometheus"}}]}
    faster = yaml.safe_dump({"global": {"scrape_interval": "5s"}})
    kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
    until(lambda: kube.answers("-n", namespace, "get", "serviceaccount", "default"), 30, "the namespace")
    data = {"prometheus.yml": faster + config}
    kube.apply(
        [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
        ]
    )
    try:
        kube.kubectl("-n", namespace, "wait", "pod/prometheus", "--for=condition=Ready", "--timeout=120s")
        address = kube.get("-n", namespace, "pod", "prometheus")["status"]["podIP"]

        def query(text: str) -> list[dict[str, Any]]:
            said = httpx.get(f"http://{address}:9090/api/v1/query", params={"query": text}, timeout=30)
            return said.raise_for_status().json()["data"]["result"]

        yield query
    finally:
        kube.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.skipif("gpt2" not in MODELS, reason="gpt2 is not served in this run")
def test_prometheus_scrapes_every_replica_and_sees_the_queue_grow(release: Release) -> None:
    release.upgrade("--set", "metrics.scrapeConfig=true")
    config = release.get("configmap", "quintet-scrape-config")["data"]["prometheus.yml"]
    services = {name.replace("_", "-") for name in MODELS}
    with prometheus(release.kube, config) as query:

        def up() -> dict[str, int]:
            return {found["metric"]["job"]: int(found["value"][1]) for found in query("sum by (job) (up)")}

        until(
            lambda: up().keys() == services | {"quintet-gateway"}, 120, "every job has a replica that is up"
        )
        # As many as there are, which its own autoscaler may just have changed.
        until(lambda: up()["quintet-gateway"] == len(release.replicas("gateway")), 120, "every gateway is up")
        queues = {found["metric"]["inferenceservice"] for found in query("quintet_queue_items")}
        assert queues == services
        headers = {"authorization": f"Bearer {release.token()}"}
        long = [{"prompt": f"The king of {n}", "max_new_tokens": 64, "temperature": 1} for n in range(50)]
        address, many = f"{release.address}/v1/models/gpt2:predict", {"instances": long}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = [
                pool.submit(httpx.post, address, json=many, headers=headers, timeout=90) for _ in range(12)
            ]
            until(
                lambda: any(
                    float(found["value"][1]) > 0
                    for found in query('max_over_time(quintet_queue_items{inferenceservice="gpt2"}[1m])')
                ),
                60,
                "the queue is seen to grow",
            )
            assert {answer.result().status_code for answer in asked} <= {200, 429, 504}


def used(release: Release) -> dict[str, tuple[str, str]]:
    """CPU and memory of each pod, as metrics-server has them."""
    lines = release.kubectl("top", "pods", "--no-headers").splitlines()
    return {name: (cpu, memory) for name, cpu, memory in (line.split() for line in lines)}


def test_what_images_and_pods_take_is_written_down(release: Release) -> None:
    for name in (*(model.replace("_", "-") for model in MODELS), "gateway", "demo-models"):
        size = registry.size(f"quintet/{name}", "0.1.0")
        figure(f"image {name}, compressed, base included", f"{size / 2**20:.0f} MiB")
    until(
        lambda: release.kube.answers("-n", release.namespace, "top", "pods"), 120, "metrics-server's figures"
    )
    time.sleep(60)  # its window, without load
    idle = used(release)
    with contextlib.ExitStack() as stack:
        for model in MODELS:
            stack.enter_context(release.traffic(model, rate=3))
        time.sleep(75)
        loaded = used(release)
    for component in (*(model.replace("_", "-") for model in MODELS), "gateway"):
        pods = [pod["metadata"]["name"] for pod in release.replicas(component)]
        pod = next(pod for pod in pods if pod in idle and pod in loaded)
        text = f"{', '.join(idle[pod])}; {', '.join(loaded[pod])}"
        figure(f"one pod of {component} at rest; with 3 calls a second to each model", text)
    assert millicores(loaded) > millicores(idle), "the calls were answered by these pods"


def millicores(pods: dict[str, tuple[str, str]]) -> int:
    return sum(int(cpu.removesuffix("m")) for cpu, _ in pods.values())
