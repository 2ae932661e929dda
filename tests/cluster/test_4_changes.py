"""Changes: bad values change nothing, keys are renewed without a refusal, a way back, a clean end."""

from __future__ import annotations

import base64
import json
import secrets
import time

import httpx
import pytest

from hack.cluster.kube import Kube, KubeFailed, until
from tests.cluster.conftest import MODELS, Release, examples
from tests.cluster.traffic import Traffic
from tests.support.charts import CHART

pytestmark = pytest.mark.timeout(1200)


def revision(release: Release) -> int:
    return int(json.loads(release.helm("list", "--output", "json"))[0]["revision"])


def test_bad_values_change_nothing(release: Release) -> None:
    before = revision(release)
    with pytest.raises(KubeFailed) as refused:
        release.upgrade("--set", "gateway.autoscaling.maximum=3")
    assert "maximum" in str(refused.value)
    assert revision(release) == before


def test_a_gpu_model_lands_on_its_node_and_waits_where_there_is_none(release: Release) -> None:
    """On fake nodes: what is placed there is Running by word alone."""
    flags = ["--set", "profile=gpu", "--namespace", "gpu", "--create-namespace"]
    kube = release.kube
    kube.kubectl("delete", "namespace", "gpu", "--ignore-not-found")
    kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu"}}])
    gpu = Release(kube, "quintet", "gpu")
    gpu.secret("quintet-jwt", current=secrets.token_hex(32), next=secrets.token_hex(32))
    only = [f for m in ("multitask_nlp", "gpt2") for f in ("--set", f"models.{m}.enabled=false")]
    weights = [
        "--set",
        "models.prompt_classifier.weights.uri=",
        "--set",
        "models.prompt_classifier.weights.included=true",
    ]
    kube.run("helm", "install", "quintet", str(CHART), *flags, *only, *weights)
    try:
        pods = ("pods", "-l", "serving.kserve.io/inferenceservice=prompt-classifier")
        until(
            lambda: [p["spec"].get("nodeName") for p in gpu.get(*pods)["items"]] == ["gpu-t4-0"],
            120,
            "the T4 node",
        )
        (pod,) = gpu.get(*pods)["items"]
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        kube.run(
            "helm",
            "upgrade",
            "quintet",
            str(CHART),
            *flags[:-1],
            *only,
            *weights,
            "--set",
            "accelerators.t4.nodeSelector.nvidia\\.com/gpu\\.product=Tesla-T5",
        )

        def waiting() -> list[str]:
            return [
                c.get("message", "")
                for p in gpu.get(*pods)["items"]
                if p["status"]["phase"] == "Pending"
                for c in p["status"].get("conditions", [])
                if c.get("reason") == "Unschedulable"
            ]

        until(
            lambda: any("node affinity/selector" in message for message in waiting()), 120, "a pod that waits"
        )
    finally:
        kube.run("helm", "uninstall", "quintet", "--namespace", "gpu")
        kube.kubectl("delete", "namespace", "gpu", "--wait=false")


def test_upgrade_and_rollback(release: Release) -> None:
    release.upgrade("--set", "gateway.limits.max_headers=50")
    release.ready()
    assert "max_headers: 50" in release.get("configmap", "quintet-gateway")["data"]["gateway.yaml"]
    release.helm("rollback", release.name)
    release.ready()
    assert "max_headers" not in release.get("configmap", "quintet-gateway")["data"]["gateway.yaml"]


def test_keys_are_renewed_without_refusing_a_valid_token(release: Release) -> None:
    """The next key is known before it signs; then it becomes the current one."""
    example = examples(MODELS[0])["v1"]
    old = release.token()
    found = release.get("secret", "quintet-jwt")["data"]
    following = base64.b64decode(found["next"]).decode()
    with Traffic(release.address, example["path"], example["body"], old, 5.0) as running:
        current = base64.b64decode(found["current"]).decode()
        release.secret("quintet-jwt", current=following, next=current)

        def signs_with_the_next() -> bool:
            return release.token().split(".")[0] != old.split(".")[0]

        until(signs_with_the_next, 120, "the kubelet brings the Secret")
        new = {"authorization": f"Bearer {release.token()}"}
        until(
            lambda: (
                httpx.post(
                    release.address + example["path"], json=example["body"], headers=new, timeout=60
                ).status_code
                == 200
            ),
            30,
            "the new key is believed",
        )
    assert running.report.failed == 0, running.report.counts
    release.secret("quintet-jwt", current=following, next=secrets.token_hex(32))
    withdrawn = {"authorization": f"Bearer {old}"}
    begin = time.monotonic()
    until(
        lambda: (
            {
                httpx.get(f"{release.address}/v2/models/{MODELS[0]}", headers=withdrawn).status_code
                for _ in range(8)
            }
            == {401}
        ),
        150,
        "the old key is forgotten everywhere",
    )
    print(f"a withdrawn key was refused after {time.monotonic() - begin:.0f} s")


def test_uninstall_leaves_nothing_of_ours(release: Release, kube: Kube) -> None:
    release.helm("uninstall", release.name, "--wait")
    kinds = "inferenceservices,deployments,services,configmaps,serviceaccounts,hpa,pdb,networkpolicies,pods"

    def left() -> list[str]:
        found = release.get(kinds, "-l", "app.kubernetes.io/instance=quintet")["items"]
        return [f"{item['kind']}/{item['metadata']['name']}" for item in found]

    until(lambda: not left(), 180, f"nothing is left: {left()}")
    assert release.get("secret", "quintet-jwt"), "the secret is the user's, not ours"
