"""Installed under Pod Security `restricted`: everything is ready, answers who may ask, and nobody else."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import grpc
import httpx
import pytest

from hack.cluster.places import KUBECONFIG
from predictors.runtime.tensors import TensorSpec
from tests.cluster.conftest import MODELS, Release, examples
from tests.contract.test_models import DETERMINISTIC
from tests.support.servers import free_port
from tests.support.transports import TRANSPORTS, Target

pytestmark = pytest.mark.timeout(1200)


def _close(outputs: dict[str, Any]) -> dict[str, Any]:
    """Floats may differ in the last bits, by who else was in the batch."""
    return {
        k: pytest.approx(v, rel=1e-3, abs=1e-4) if isinstance(v, float) else v for k, v in outputs.items()
    }


def test_everything_is_ready(release: Release) -> None:
    for model in MODELS:
        found = release.get("inferenceservice", model.replace("_", "-"))
        conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
        assert conditions["Ready"] == conditions["PredictorReady"] == "True"
        assert found["status"]["deploymentMode"] == "Standard"
        assert found["status"]["url"]


def warnings(release: Release, found: dict[str, Any]) -> str:
    """What the API server says to whoever creates a Deployment like this one."""
    again = {"name": "again", "namespace": release.namespace, "labels": found["metadata"].get("labels", {})}
    given = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": again, "spec": found["spec"]}
    done = subprocess.run(
        ["kubectl", "create", "--dry-run=server", "-f", "-"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        env=release.kube.environ,
        timeout=60,
    )
    return done.stderr


def test_the_namespace_enforces_restricted_and_no_pod_warns(release: Release) -> None:
    labels = release.kube.get("namespace", release.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    deployments = release.get("deployments")["items"]
    assert len(deployments) == len(MODELS) + 1
    assert [said for found in deployments if "PodSecurity" in (said := warnings(release, found))] == []
    deployments[0]["spec"]["template"]["spec"].pop("securityContext")
    deployments[0]["spec"]["template"]["spec"]["hostNetwork"] = True
    assert "would violate PodSecurity" in warnings(release, deployments[0]), "it would be said"


def test_pods_run_as_nobody_and_have_no_token(release: Release) -> None:
    for pod in release.get("pods")["items"]:
        assert pod["spec"]["securityContext"]["runAsUser"] == 65532
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_kserve_hands_our_pod_on_unchanged(release: Release) -> None:
    for model in MODELS:
        deployment = release.get("deployment", f"{model.replace('_', '-')}-predictor")
        pod = deployment["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert container["name"] == "kserve-container"
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == 40
        assert pod["terminationGracePeriodSeconds"] == 87
        assert container["startupProbe"]["httpGet"]["path"] == "/v2/health/ready"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_kserve_leaves_the_replicas_to_our_autoscaler(release: Release) -> None:
    scalers = {item["metadata"]["name"] for item in release.get("hpa")["items"]}
    assert scalers == {*(model.replace("_", "-") for model in MODELS), "quintet-gateway"}


def test_helm_test_passes(release: Release) -> None:
    said = release.helm("test", release.name, "--logs", "--timeout", "3m")
    assert "Succeeded" in said
    assert not release.kube.answers("-n", release.namespace, "get", "pod", "quintet-test"), (
        "it leaves nothing"
    )
    for model in MODELS:
        assert said.count(f'"model": "{model}"') == 3


def test_the_commands_of_the_notes_work_when_pasted(release: Release) -> None:
    """All of them, in their order, in one shell; only the local port is another one."""
    notes = release.helm("get", "notes", release.name).replace("localhost:8080", f"localhost:{free_port()}")
    port = re.search(r"localhost:(\d+)", notes)
    assert port
    lines = [line.strip() for line in notes.splitlines() if line.startswith("  ")]
    script = ["set -e", "trap 'kill %1' EXIT"]
    for line in lines:
        if " port-forward " in line:
            line = (
                line.replace(" 8080:", f" {port[1]}:")
                + f" & until echo > /dev/tcp/127.0.0.1/{port[1]}; do sleep 0.2; done"
            )
        script.append(line.replace("curl ", "curl --silent --show-error --fail-with-body ", 1))
    said = release.kube.run("bash", "-c", "\n".join(script))
    assert f'"{MODELS[0]}"' in said
    assert '"platform":"quintet"' in said, "the metadata of a model"
    assert "Succeeded" in said, "helm test"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("way", ["domain", "v1", "v2"])
def test_an_example_is_answered_through_a_forwarded_port(release: Release, model: str, way: str) -> None:
    example = examples(model)[way]
    headers = {"authorization": f"Bearer {release.token(f'infer:{model}')}"}
    with release.forwarded() as address:
        answer = httpx.post(address + example["path"], json=example["body"], headers=headers, timeout=60)
    assert answer.is_success, answer.text


@pytest.mark.skipif("gpt4_nano" not in MODELS, reason="gpt4_nano is not served in this run")
def test_an_answer_is_streamed_through_a_forwarded_port(release: Release) -> None:
    headers = {"authorization": f"Bearer {release.token('infer:gpt4_nano')}"}
    path, body = "/v2/models/gpt4_nano/generate_stream", {"prompt": "What is machine learning?"}
    with (
        release.forwarded() as address,
        httpx.stream("POST", address + path, json=body, headers=headers, timeout=60) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert len(events) > 1
    assert "".join(event["response"] for event in events)
    assert events[-1]["finish_reason"]


@pytest.mark.parametrize("model", MODELS)
def test_every_transport_gives_the_same_answer_through_a_forwarded_port(release: Release, model: str) -> None:
    """The contract's table: v1, v2 as JSON and binary, gRPC with typed and with raw contents."""
    token = release.token(f"infer:{model}")
    metadata = (("authorization", f"Bearer {token}"), ("quintet-model", model))
    with (
        release.forwarded() as address,
        httpx.Client(base_url=address, headers=dict(metadata[:1]), timeout=60) as http,
        grpc.insecure_channel(address.removeprefix("http://")) as channel,
    ):
        described = http.get(f"/v2/models/{model}").raise_for_status().json()
        inputs = tuple(TensorSpec(tensor["name"], tensor["datatype"]) for tensor in described["inputs"])
        target = Target(model, inputs, http, channel, metadata)
        first = examples(model)["v1"]["body"]["instances"][0]
        items = [first if isinstance(first, dict) else {inputs[0].name: first}]
        (expected,) = TRANSPORTS["v1"](target, items)
        for name, call in TRANSPORTS.items():
            (found,) = call(target, items)
            if model in DETERMINISTIC:  # and asked here as it comes, where each answer is drawn
                assert found.keys() >= expected.keys(), name
            else:
                assert {key: found[key] for key in expected} == _close(expected), name


@pytest.mark.parametrize("model", MODELS)
def test_grpc_without_a_token_or_with_a_foreign_one_is_refused(release: Release, model: str) -> None:
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc

    foreign = ("authorization", f"Bearer {release.token('infer:another')}")
    with grpc.insecure_channel(release.address.removeprefix("http://") + ":80") as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        for given, code in (((), "UNAUTHENTICATED"), ((foreign,), "PERMISSION_DENIED")):
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelReady(
                    pb.ModelReadyRequest(name=model), metadata=(("quintet-model", model), *given), timeout=30
                )
            assert refused.value.code().name == code  # pyright: ignore[reportAttributeAccessIssue]


def test_kserves_own_client_and_kubectl_see_what_is_there(release: Release) -> None:
    from kserve import KServeClient

    client = KServeClient(config_file=str(KUBECONFIG))
    for name in (model.replace("_", "-") for model in MODELS):
        client.wait_isvc_ready(name, namespace=release.namespace, timeout_seconds=60)
        found: dict[str, Any] = client.get(name, namespace=release.namespace)  # pyright: ignore[reportAssignmentType]
        assert found["status"]["url"] == f"http://{name}-{release.namespace}.example.com"
        columns = release.kubectl("get", "inferenceservice", name, "--no-headers").split()
        assert columns[:3] == [name, found["status"]["url"], "True"]


@pytest.mark.parametrize("model", MODELS)
def test_no_token_and_a_foreign_one_are_refused(release: Release, model: str) -> None:
    example = examples(model)["v1"]
    address = release.address + example["path"]
    assert httpx.post(address, json=example["body"]).status_code == 401
    others = {"authorization": f"Bearer {release.token('infer:another')}"}
    assert httpx.post(address, json=example["body"], headers=others).status_code == 403


def test_the_catalogue_says_what_is_there(release: Release) -> None:
    headers = {"authorization": f"Bearer {release.token('infer:*', 'read:models')}"}
    said = httpx.get(f"{release.address}/models", headers=headers, timeout=30).json()
    assert {entry["name"]: entry["ready"] for entry in said["models"]} == dict.fromkeys(MODELS, True)
    for entry in said["models"]:
        assert (entry["status"], entry["reason"]) == ("ready", None), entry
        assert (entry["node_kind"], entry["node_selector"]) == ("none", {})
        name = f"{entry['name'].replace('_', '-')}-predictor"
        deployment = release.get("deployment", name)
        assert entry["replicas"]["wanted"] == deployment["spec"]["replicas"]
        assert 1 <= entry["replicas"]["ready"] <= entry["replicas"]["wanted"]


def test_the_gateways_token_lists_what_the_catalogue_shows_and_nothing_else(release: Release) -> None:
    gateway = f"--as=system:serviceaccount:{release.namespace}:{release.name}-gateway"

    def may(*what: str) -> bool:
        return release.kubectl("auth", "can-i", *what, gateway, check=False).strip() == "yes"

    assert may("list", "inferenceservices.serving.kserve.io")
    assert may("list", "deployments.apps")
    for what in (
        *("get inferenceservices.serving.kserve.io", "patch inferenceservices.serving.kserve.io"),
        *("watch deployments.apps", "list pods", "get secrets", "create pods/exec"),
    ):
        assert not may(*what.split()), what
    assert not may("list", "inferenceservices.serving.kserve.io", "--all-namespaces")


def test_a_stranger_reaches_the_gateway_and_no_predictor(release: Release) -> None:
    """Asked from a pod of another namespace."""
    kube = release.kube
    model = MODELS[0].replace("_", "-")
    script = (
        "import sys, urllib.request, urllib.error\n"
        "for url in sys.argv[1:]:\n"
        "    try: print(urllib.request.urlopen(url, timeout=5).status)\n"
        "    except urllib.error.HTTPError as e: print(e.code)\n"
        "    except OSError as e: print('unreachable')\n"
    )
    urls = [
        f"http://quintet-gateway.{release.namespace}.svc.cluster.local/docs",
        f"http://{model}-replicas.{release.namespace}.svc.cluster.local:8080/v2/health/live",
        f"http://{model}-predictor.{release.namespace}.svc.cluster.local/v2/health/live",
    ]
    image = release.get("deployment", "quintet-gateway")["spec"]["template"]["spec"]["containers"][0]["image"]
    kube.kubectl("delete", "pod", "stranger", "-n", "default", "--ignore-not-found")
    pod = ("run", "stranger", "-n", "default", f"--image={image}", "--restart=Never", "--command", "--")
    kube.kubectl(*pod, "python3", "-c", script, *urls)
    try:
        kube.kubectl(
            "wait",
            "pod/stranger",
            "-n",
            "default",
            "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=120s",
        )
        assert kube.kubectl("logs", "stranger", "-n", "default").split() == [
            "200",
            "unreachable",
            "unreachable",
        ]
    finally:
        kube.kubectl("delete", "pod", "stranger", "-n", "default", "--now")
