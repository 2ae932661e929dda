"""Beside the release: other releases, on other nodes, with other weights, and models without a chart."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from hack.cluster.kube import Kube, until
from hack.demo_models import demo_checkpoint
from tests.cluster.conftest import MODELS, Release, disabled, examples
from tests.support.charts import CHART, ROOT, Object

pytestmark = pytest.mark.timeout(1200)


@contextlib.contextmanager
def installed(kube: Kube, name: str, namespace: str, *flags: str) -> Iterator[Release]:
    """A second release; its namespace and secret are made if they are not there."""
    found = Release(kube, name, namespace)
    own = not kube.answers("get", "namespace", namespace)
    if own:
        kube.kubectl("create", "namespace", namespace)
        found.secret("quintet-jwt", current=secrets.token_hex(32), next=secrets.token_hex(32))
    found.helm("install", name, str(CHART), *flags)
    try:
        yield found
    finally:
        found.helm("uninstall", name)
        if own:
            kube.kubectl("delete", "namespace", namespace, "--wait=false")


def messages(release: Release, component: str) -> str:
    """Why its pods are not running."""
    conditions = [c for pod in release.replicas(component) for c in pod["status"].get("conditions", [])]
    return " ".join(c.get("message", "") for c in conditions if c["status"] == "False")


GPU = {"prompt-classifier": "gpu-t4-0", "text-evaluator": "gpu-l40-0"}


def test_gpu_models_land_on_their_nodes_and_wait_where_there_is_none(
    release: Release, gpu_nodes: None
) -> None:
    """On fake nodes: what is placed there is Running by word alone."""
    flags = ["--set", "profile=gpu", *disabled(["prompt_classifier", "text_evaluator"])]
    for model in ("prompt_classifier", "text_evaluator"):
        for value in ("enabled=true", "weights.uri=", "weights.included=true"):
            flags += ["--set", f"models.{model}.{value}"]
    with installed(release.kube, "quintet", "gpu", *flags) as gpu:
        for component, node in GPU.items():
            until(
                lambda c=component, n=node: [p["spec"].get("nodeName") for p in gpu.replicas(c)] == [n],
                120,
                f"{component} on {node}",
            )
            (pod,) = gpu.replicas(component)
            assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        elsewhere = "accelerators.t4.nodeSelector.nvidia\\.com/gpu\\.product=Tesla-T5"
        gpu.helm("upgrade", "quintet", str(CHART), *flags, "--set", elsewhere)
        until(lambda: "node affinity/selector" in messages(gpu, "prompt-classifier"), 120, "a pod that waits")
        said = gpu.kubectl("describe", "pod", "-l", "app.kubernetes.io/component=prompt-classifier")
        assert "didn't match Pod's node affinity/selector" in said, "as docs/how-to/gpu-nodes.md reads it"


def test_missing_weights_are_said_and_hold_nothing_else_up(release: Release) -> None:
    absent = ("--set", "profile=cpu", "--set", "models.gpt2.weights.uri=pvc://absent/gpt2")
    with installed(release.kube, "waiting", release.namespace, *absent, *disabled(["gpt2"])) as waiting:
        until(
            lambda: 'persistentvolumeclaim "absent" not found' in messages(waiting, "gpt2"), 60, "the reason"
        )
        release.ready(5)


def test_two_releases_live_in_one_namespace(release: Release) -> None:
    model = MODELS[-1]
    component = model.replace("_", "-")
    name = f"second-{component}"
    before = {pod["metadata"]["uid"] for pod in release.replicas("gateway") + release.replicas(component)}
    with (
        release.traffic(model, rate=2) as running,
        installed(release.kube, "second", release.namespace, *disabled([model])) as second,
    ):
        second.kubectl("wait", "--for=condition=Ready", "--timeout=300s", f"inferenceservice/{name}")
        second.kubectl("rollout", "status", "deployment/second-gateway", "--timeout=300s")
        example = examples(model)["v1"]
        headers = {"authorization": f"Bearer {second.token()}"}
        address = second.address + example["path"]
        until(
            lambda: httpx.post(address, json=example["body"], headers=headers, timeout=60).is_success,
            60,
            name,
        )
        other = next((m for m in MODELS if m != model), None)
        if other:
            foreign = examples(other)["v1"]
            answer = httpx.post(second.address + foreign["path"], json=foreign["body"], headers=headers)
            assert answer.status_code == 404, "it has no way to the first one's models"
    after = {pod["metadata"]["uid"] for pod in release.replicas("gateway") + release.replicas(component)}
    assert before <= after
    assert running.report.failed == 0, running.report.counts


@pytest.mark.parametrize("manifest", sorted(path.name for path in (ROOT / "manifests").glob("*.yaml")))
def test_kserve_accepts_the_manifest_of_one_model(release: Release, manifest: str) -> None:
    path = str(ROOT / "manifests" / manifest)
    release.kube.kubectl("apply", "--dry-run=server", "--namespace", "default", "-f", path)


def for_this_node(manifest: str) -> list[Object]:
    """Without the GPU and the whole cores that it asks for: there is no card, and the release fills the cores."""
    objects = list(yaml.safe_load_all(manifest))
    for spec in (o["spec"]["predictor"] for o in objects if o["kind"] == "InferenceService"):
        spec.pop("nodeSelector", None)
        spec.pop("tolerations", None)
        requests, limits = {"cpu": "100m", "memory": "512Mi"}, {"cpu": "1", "memory": "2Gi"}
        spec["containers"][0]["resources"] = {"requests": requests, "limits": limits}
    return objects


@pytest.mark.parametrize("model", [m for m in ("multitask_nlp", "prompt_classifier") if m in MODELS])
def test_a_manifest_alone_serves_its_model(release: Release, model: str, tmp_path: Path) -> None:
    """Its weights in a volume, as its first lines say; KServe mounts it."""
    component = model.replace("_", "-")
    shutil.copytree(demo_checkpoint(model), tmp_path / component)
    for path in (tmp_path / component, *(tmp_path / component).rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))  # some are their maker's alone
    kube, alone = release.kube, Release(release.kube, component, "alone")
    size = {"storage": "1Gi"}
    modes = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    volume = {
        "capacity": size,
        "hostPath": {"path": str(tmp_path)},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    claim = {"resources": {"requests": size}, "volumeName": "models"}
    metadata = {"name": "models", "namespace": "alone"}
    kube.kubectl("create", "namespace", "alone")
    kube.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": "models"},
                "spec": volume | modes,
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": claim | modes,
            },
        ]
    )
    try:
        manifest = for_this_node((ROOT / "manifests" / f"{component}.yaml").read_text())
        kube.kubectl(
            "-n",
            "alone",
            "apply",
            "-f",
            "-",
            given=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifest}),
        )
        service = f"{component}-predictor"
        until(lambda: kube.answers("-n", "alone", "get", "service", service), 60, "its Service")
        alone.kubectl("wait", "--for=condition=Ready", "--timeout=300s", f"inferenceservice/{component}")
        address = alone.get("service", service)["spec"]["clusterIP"]
        example = examples(model)["v1"]
        answer = httpx.post(f"http://{address}{example['path']}", json=example["body"], timeout=60)
        assert answer.is_success, answer.text
    finally:
        kube.kubectl("delete", "namespace", "alone", "--wait=true")
        kube.kubectl("delete", "persistentvolume", "models")
