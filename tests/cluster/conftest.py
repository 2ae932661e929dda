"""The chart on a real Kubernetes with a real KServe (``make e2e``). Slow, so `make test` does not come here.

A run begins with a new cluster and ends it. With E2E_KEEP=1 it takes the one that is there and leaves it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster import kind
from hack.cluster.__main__ import ADDONS, chart_models, down, up
from hack.cluster.kube import Kube, until
from hack.cluster.places import KUBECONFIG
from hack.local_stack import hints
from tests.cluster.traffic import Traffic
from tests.support.charts import CHART, ROOT, Object

NAMESPACE = "models"
LOGS = ROOT / ".local" / "cluster-logs"
FIGURES = ROOT / ".local" / "cluster-figures.md"
INSTALL_SECONDS = 600
KEEP = os.environ.get("E2E_KEEP", "") not in ("", "0")
# A comma-separated choice in E2E_MODELS; default: all that the chart enables.
MODELS = [name for name in os.environ.get("E2E_MODELS", "").split(",") if name] or chart_models()


@dataclass(frozen=True)
class Release:
    kube: Kube
    name: str
    namespace: str

    def helm(self, *arguments: str) -> str:
        return self.kube.run("helm", *arguments, "--namespace", self.namespace)

    def upgrading(self, *flags: str) -> tuple[str, ...]:
        """What helm is told for an upgrade to the first values and these."""
        return ("upgrade", self.name, str(CHART), *disabled(), *flags)

    def upgrade(self, *flags: str) -> str:
        return self.helm(*self.upgrading(*flags))

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        return self.kube.kubectl("-n", self.namespace, *arguments, check=check)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.kube.get("-n", self.namespace, *arguments)

    @property
    def address(self) -> str:
        """Of the gateway's Service: this machine has a way into the cluster."""
        service = self.get("service", f"{self.name}-gateway")
        return f"http://{service['spec']['clusterIP']}"

    def token(self, *scopes: str, key: str = "current") -> str:
        """Signed by the gateway's own command in its pod, as NOTES says."""
        flags = [flag for scope in scopes or ("infer:*",) for flag in ("--scope", scope)]
        config = ("--config", "/etc/quintet/gateway.yaml")
        command = (
            "exec",
            f"deployment/{self.name}-gateway",
            "-c",
            "gateway",
            "--",
            "python3",
            "-m",
            "gateway",
        )
        return self.kubectl(*command, "token", *config, *flags).strip()

    def ready(self, seconds: int = INSTALL_SECONDS) -> None:
        services = [f"inferenceservice/{model.replace('_', '-')}" for model in MODELS]
        self.kubectl("wait", "--for=condition=Ready", f"--timeout={seconds}s", *services)
        self.kubectl("rollout", "status", f"deployment/{self.name}-gateway", f"--timeout={seconds}s")

    def reached(self) -> None:
        """Every gateway has found every model, which takes as long as old answers of the DNS live."""
        headers = {"authorization": f"Bearer {self.token()}"}

        def found(url: str) -> bool:
            """Asked on connections of their own, which are spread over the gateways."""
            return all(httpx.get(url, headers=headers, timeout=30).status_code == 200 for _ in range(10))

        for model in MODELS:
            url = f"{self.address}/v2/models/{model}/ready"
            until(lambda url=url: found(url), 60, url)

    def secret(self, name: str, **values: str) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        metadata = {"name": name, "namespace": self.namespace}
        self.kube.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}])

    def traffic(self, model: str, rate: float = 5.0, spread: bool = False) -> Traffic:
        """Open-loop load of the model's example."""
        example = examples(model)["v1"]
        return Traffic(self.address, example["path"], example["body"], self.token(), rate, spread)

    def known(self, model: str) -> list[int]:
        """How many replicas of it each gateway knows, by its own metrics."""
        found: list[int] = []
        for gateway in self.replicas("gateway"):
            pod = f"/api/v1/namespaces/{self.namespace}/pods/{gateway['metadata']['name']}:9903"
            said = self.kubectl("get", "--raw", f"{pod}/proxy/metrics")
            count = re.search(
                rf'^envoy_cluster_membership_total{{[^}}]*"{model}"[^}}]*}} (\d+)$', said, re.MULTILINE
            )
            found.append(int(count[1]) if count else 0)
        return found

    def replicas(self, component: str) -> list[Object]:
        """The pods that are not about to end."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        pods = self.get("pods", "-l", selector)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def gone(self, pods: list[Object]) -> bool:
        """Whether the last of these has ended, which is long after it was told to."""
        there = {pod["metadata"]["name"] for pod in self.get("pods")["items"]}
        return not there & {pod["metadata"]["name"] for pod in pods}

    @contextlib.contextmanager
    def forwarded(self) -> Iterator[str]:
        """The gateway's address by `kubectl port-forward`."""
        command = ["kubectl", "-n", self.namespace, "port-forward", f"service/{self.name}-gateway", ":80"]
        with subprocess.Popen(command, env=self.kube.environ, stdout=subprocess.PIPE, text=True) as forward:
            assert forward.stdout is not None
            said = re.search(r"127\.0\.0\.1:\d+", forward.stdout.readline())
            assert said
            try:
                yield f"http://{said[0]}"
            finally:
                forward.terminate()


def disabled(wanted: Collection[str] = MODELS) -> list[str]:
    """Flags that leave out what is not wanted."""
    return [
        flag for m in chart_models() if m not in wanted for flag in ("--set", f"models.{m}.enabled=false")
    ]


def figure(what: str, value: str) -> None:
    """For benchmarks/results/cluster.md: said, and kept until the next run."""
    print(f"\n{what}: {value}", flush=True)
    with FIGURES.open("a") as file:
        file.write(f"| {what} | {value} |\n")


def examples(model: str) -> dict[str, dict[str, Any]]:
    return hints.examples(ROOT / "predictors" / model)


@pytest.fixture(scope="session")
def bare() -> Kube:
    """Kubernetes and its DNS."""
    if kind.available():
        pytest.exit(kind.NO_TESTS, returncode=1)
    if not KEEP:
        down()
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text("| what | figure |\n|---|---|\n")
    begin = time.monotonic()
    up([], ["coredns"])
    if not KEEP:
        figure("a new Kubernetes with DNS, programs and images cached", f"{time.monotonic() - begin:.0f} s")
    return Kube()


@pytest.fixture(scope="session")
def kube(bare: Kube) -> Kube:
    """With KServe, and our images in the registry."""
    begin = time.monotonic()
    up(MODELS, [addon for addon in ADDONS if addon != "kwok"])
    if not KEEP:
        figure("KServe, metrics-server and our images on it", f"{time.monotonic() - begin:.0f} s")
    return bare


@pytest.fixture(scope="session")
def gpu_nodes(kube: Kube) -> None:
    """Fake ones, of a T4 and an L40."""
    up([], ["kwok"])


@pytest.fixture(scope="session")
def namespace(kube: Kube) -> str:
    """New, and under Pod Security `restricted`."""
    kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}])
    until(lambda: kube.answers("-n", NAMESPACE, "get", "serviceaccount", "default"), 30, "the namespace")
    return NAMESPACE


@pytest.fixture(scope="session")
def release(kube: Kube, namespace: str) -> Release:
    """`helm install quintet charts/quintet`, all of it ready."""
    found = Release(kube, "quintet", namespace)
    found.secret("quintet-jwt", current=secrets.token_hex(32), next=secrets.token_hex(32))
    begin = time.monotonic()
    found.helm("install", found.name, str(CHART), *disabled())
    found.ready()
    figure(f"helm install to all ready ({len(MODELS)} models)", f"{time.monotonic() - begin:.0f} s")
    found.reached()
    figure("and until the gateway answers for every model", f"{time.monotonic() - begin:.0f} s")
    return found


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """What a failure leaves to be read, that of an install too: the state and the words of every pod."""
    outcome = yield
    report = outcome.get_result()  # pyright: ignore[reportAttributeAccessIssue]
    if report.failed and KUBECONFIG.exists():
        _keep_logs(Kube(), LOGS / item.name)


def _keep_logs(kube: Kube, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def said(*command: str) -> str:
        return kube.kubectl(*command, "--request-timeout=20s", check=False)

    for name, command in {
        "objects": ("get", "inferenceservices,deployments,pods,hpa,events", "-A", "-o", "wide"),
        "pods": ("describe", "pods", "-A"),
        "services": ("get", "inferenceservices", "-A", "-o", "yaml"),
    }.items():
        (folder / f"{name}.txt").write_text(said(*command))
    pods = json.loads(said("get", "pods", "-A", "-o", "json") or '{"items": []}')
    for pod in pods["items"]:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        asked = ("logs", "-n", namespace, name, "--all-containers", "--ignore-errors", "--tail=500")
        (folder / f"{namespace}.{name}.log").write_text(said(*asked))
        if any(one["restartCount"] for one in pod["status"].get("containerStatuses", [])):
            (folder / f"{namespace}.{name}.previous.log").write_text(said(*asked, "--previous"))
