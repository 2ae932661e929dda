"""What holds for every pod of every situation: security, probes, resources, the arithmetic of its end."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from predictors.gpt4_nano.pipeline.messages import REQUESTS
from predictors.gpt4_nano.pipeline.settings import PipelineSettings
from predictors.runtime.settings import ENDING_SECONDS, PREFIX
from tests.support.charts import CASES, Object, case_flags, containers, kind, pod_specs, render, selects

PODS = [
    pytest.param(name, spec, labels, id=f"{case}-{name}")
    for case in CASES
    for name, spec, labels in pod_specs(render(*case_flags(case)))
]
SERVING = [pod for pod in PODS if not str(pod.id).endswith("-test") and "-training-" not in str(pod.id)]
RESTRICTED_VOLUMES = {"configMap", "emptyDir", "secret", "projected", "persistentVolumeClaim", "downwardAPI"}
DNS_TTL_SECONDS = 30
"""What CoreDNS gives its answers in a cluster as kubeadm and kind set it up."""
ENVOY_REFRESH_SECONDS = 5


def env(container: Object) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def cores(quantity: str) -> float:
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


@pytest.mark.parametrize(("name", "spec", "labels"), PODS)
def test_a_pod_is_restricted(name: str, spec: Object, labels: dict[str, str]) -> None:
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert {key for volume in spec["volumes"] for key in volume} - {"name"} <= RESTRICTED_VOLUMES
    for container in containers(spec):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize(("name", "spec", "labels"), PODS)
def test_a_pod_has_no_more_rights_than_it_uses(name: str, spec: Object, labels: dict[str, str]) -> None:
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] != "default"
    assert spec["enableServiceLinks"] is False, "QUINTET_..._SERVICE_HOST is not for us"


@pytest.mark.parametrize(("name", "spec", "labels"), PODS)
def test_a_pod_says_what_it_needs(name: str, spec: Object, labels: dict[str, str]) -> None:
    for container in containers(spec):
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), "HPA and scheduler go by them"
        assert "memory" in container["resources"]["limits"]
        limit = container["resources"]["limits"].get("cpu")
        if container["name"] == "kserve-container":  # KServe would write 1, whatever is requested
            assert float(limit) >= max(1.0, cores(container["resources"]["requests"]["cpu"]))
        else:
            assert limit is None, "throttling is latency"
    for volume in spec["volumes"]:
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": None})


@pytest.mark.parametrize(("name", "spec", "labels"), PODS)
def test_an_image_is_one_image(name: str, spec: Object, labels: dict[str, str]) -> None:
    for container in containers(spec):
        tag = re.search(r":([^/:@]+)(@sha256:[0-9a-f]{64})?$", container["image"])
        assert tag, container["image"]
        assert tag[1] != "latest"
        assert container["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize(("name", "spec", "labels"), SERVING)
def test_probes_ask_what_they_should(name: str, spec: Object, labels: dict[str, str]) -> None:
    first = spec["containers"][0]
    paths = {
        probe: first[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    prefix = "" if "gateway" in name else "/v2/health"
    ready, live = f"{prefix}/ready", f"{prefix}/live"
    assert paths == {"startupProbe": ready, "readinessProbe": ready, "livenessProbe": live}
    named = {port["name"] for port in first["ports"]}
    assert {first[probe]["httpGet"]["port"] for probe in paths} <= named


@pytest.mark.parametrize(("name", "spec", "labels"), SERVING)
def test_a_pod_has_time_to_end(name: str, spec: Object, labels: dict[str, str]) -> None:
    first = spec["containers"][0]
    learn = first["lifecycle"]["preStop"]["sleep"]["seconds"]
    if grace := env(first).get("QUINTET_GRACE_PERIOD"):
        delay = float(env(first)["QUINTET_DRAIN_DELAY"])
        assert float(grace) >= delay + ENDING_SECONDS
        assert spec["terminationGracePeriodSeconds"] > learn + float(grace)
    else:
        assert spec["terminationGracePeriodSeconds"] > learn


@pytest.mark.parametrize(("name", "spec", "labels"), [p for p in SERVING if "gateway" not in str(p.id)])
def test_a_predictor_serves_until_every_gateway_knows(
    name: str, spec: Object, labels: dict[str, str]
) -> None:
    """Gateways find replicas by DNS; until its answers are old a replica that is going is still called."""
    learn = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert learn >= DNS_TTL_SECONDS + ENVOY_REFRESH_SECONDS


@pytest.mark.parametrize("case", CASES)
def test_the_container_of_kserve_is_the_first_and_its_ports_have_names(case: str) -> None:
    for isvc in kind(render(*case_flags(case)), "InferenceService").values():
        first = isvc["spec"]["predictor"]["containers"][0]
        assert first["name"] == "kserve-container"
        assert [port["name"] for port in first["ports"]] == ["http1", "grpc"]


@pytest.mark.parametrize("case", CASES)
def test_every_serving_pod_has_a_budget_that_never_blocks_a_drain(case: str) -> None:
    objects = render(*case_flags(case))
    budgets = kind(objects, "PodDisruptionBudget").values()
    for name, _, labels in pod_specs([o for o in objects if o["kind"] not in ("Pod", "Job")]):
        mine = [b for b in budgets if selects(b["spec"]["selector"], labels)]
        assert len(mine) == 1, name
        assert mine[0]["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in mine[0]["spec"]


@pytest.mark.parametrize("case", [case for case in CASES if case != "keda"])
def test_every_pod_that_stays_is_under_one_network_policy(case: str) -> None:
    objects = render(*case_flags(case))
    policies = kind(objects, "NetworkPolicy").values()
    for name, _, labels in pod_specs([o for o in objects if o["kind"] != "Pod"]):
        mine = [p for p in policies if selects(p["spec"]["podSelector"], labels)]
        assert len(mine) == 1, name
        assert mine[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("case", [case for case in CASES if case != "keda"])
def test_only_the_gateway_and_prometheus_reach_a_predictor(case: str) -> None:
    objects = render(*case_flags(case))
    gateway = next(labels for name, _, labels in pod_specs(objects) if name.endswith("-gateway"))
    for name in kind(objects, "InferenceService"):
        serving, metrics = kind(objects, "NetworkPolicy")[name]["spec"]["ingress"]
        callers = [peer["podSelector"] for peer in serving["from"]]
        assert any(selects(caller, gateway) for caller in callers)
        assert all(caller["matchLabels"] for caller in callers), "an empty selector would be everybody"
        assert metrics["from"]
        assert {port["port"] for port in metrics["ports"]} <= {"http1", "consumer"}, "metrics and no more"


def peers_of(policy: Object, port: str) -> list[Object]:
    """Who may come in on that port."""
    rules = [rule for rule in policy["spec"]["ingress"] if {"port": port} in rule["ports"]]
    return [peer for rule in rules for peer in rule.get("from", [])]


def test_helm_test_may_call_a_gateway_whose_callers_are_named() -> None:
    named = "networkPolicy.clients[0].namespaceSelector.matchLabels.team=search"
    objects = render("--set", named)
    (labels,) = (labels for name, _, labels in pod_specs(objects) if name.endswith("-test"))
    peers = peers_of(kind(objects, "NetworkPolicy")["quintet-gateway"], "http")
    assert {"namespaceSelector": {"matchLabels": {"team": "search"}}} in peers
    assert any(selects(peer["podSelector"], labels) for peer in peers if "podSelector" in peer)
    everybody = kind(render(), "NetworkPolicy")["quintet-gateway"]
    assert peers_of(everybody, "http") == [], "where nobody is named everybody may"


def ports_out(model: str, *values: str) -> set[int]:
    """Beside those of DNS."""
    flags = [flag for value in values for flag in ("--set", value)]
    policy = kind(render(*flags), "NetworkPolicy")[model]
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} - {53}


@pytest.mark.parametrize(
    ("brokers", "ports"),
    [
        ("kafka.streaming.svc:9092", {9092}),
        ("kafka-0:9094\\,kafka-1:9095", {9094, 9095}),
        ("[fd00::1]:9093", {9093}),
    ],
)
def test_brokers_are_reached_on_their_own_ports(brokers: str, ports: set[int]) -> None:
    assert ports_out("gpt4-nano", f"kafka.brokers={brokers}") == {443, *ports}


@pytest.mark.parametrize(
    ("uri", "ports"),
    [
        ("hf://openai-community/gpt2", {443}),
        ("s3://models/gpt2", {443}),
        ("https://models.example.com/gpt2.tar", {443}),
        ("https://models.example.com:8443/gpt2.tar", {8443}),
        ("http://models.example.com/gpt2.tar", {80}),
        ("http://models.example.com:9000/gpt2.tar", {9000}),
        ("pvc://models/gpt2", set()),
        ("oci://registry.example.com:5000/gpt2", set()),
    ],
)
def test_weights_are_fetched_from_the_port_that_they_are_on(uri: str, ports: set[int]) -> None:
    """The kubelet fetches what is in a volume or an image; everything else a container of the pod."""
    assert (
        ports_out(
            "gpt2",
            "profile=cpu",
            "models.multitask_nlp.weights.included=true",
            f"models.gpt2.weights.uri={uri}",
        )
        == ports
    )


def test_an_object_store_on_a_port_of_its_own_is_reached() -> None:
    """s3:// does not say where: KServe reads the endpoint from the Secret."""
    given = (
        "profile=cpu",
        "models.multitask_nlp.weights.included=true",
        "models.gpt2.weights.uri=s3://models/gpt2",
    )
    assert ports_out("gpt2", *given, "models.gpt2.weights.port=9000") == {9000}


@pytest.mark.parametrize("case", CASES)
def test_load_goes_before_a_replica_does(case: str) -> None:
    """A replica is not given up sooner than another one would take to load."""
    objects = render(*case_flags(case))
    services = kind(objects, "InferenceService")
    for name, hpa in kind(objects, "HorizontalPodAutoscaler").items():
        if name in services:
            probe = services[name]["spec"]["predictor"]["containers"][0]["startupProbe"]
            window = hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
            assert window >= probe["periodSeconds"] * probe["failureThreshold"]
            assert hpa["spec"]["scaleTargetRef"]["name"] == f"{name}-predictor"


@pytest.mark.parametrize("case", CASES)
def test_replicas_have_one_owner(case: str) -> None:
    objects = render(*case_flags(case))
    scaled = {*kind(objects, "HorizontalPodAutoscaler"), *kind(objects, "ScaledObject")}
    for name, isvc in kind(objects, "InferenceService").items():
        owner = isvc["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"]
        assert owner == ("external" if name in scaled else "none")


def test_a_rollout_needs_no_second_gpu() -> None:
    services = kind(render(*case_flags("gpu")), "InferenceService")
    strategy = services["prompt-classifier"]["spec"]["predictor"]["deploymentStrategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    shared = kind(render(*case_flags("keda")), "InferenceService")["prompt-classifier"]["spec"]["predictor"]
    assert shared["deploymentStrategy"] == {"type": "Recreate"}
    cpu = services["gpt2"]["spec"]["predictor"]["deploymentStrategy"]["rollingUpdate"]
    assert cpu == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize(
    ("model", "product"), [("prompt-classifier", "Tesla-T4"), ("text-evaluator", "NVIDIA-L40")]
)
def test_a_gpu_model_lands_on_its_node_with_one_gpu(model: str, product: str) -> None:
    spec = kind(render(*case_flags("everything")), "InferenceService")[model]["spec"]["predictor"]
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": product}
    resources = spec["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"


def test_startup_takes_as_long_as_it_may() -> None:
    found = kind(
        render(
            "--set",
            "profile=cpu,models.multitask_nlp.weights.included=true,models.gpt2.weights.included=true",
            "--set",
            "models.multitask_nlp.startupSeconds=123,models.gpt2.startupSeconds=123",
        ),
        "InferenceService",
    )
    for name in ("multitask-nlp", "gpt2"):
        probe = found[name]["spec"]["predictor"]["containers"][0]["startupProbe"]
        assert probe["failureThreshold"] == math.ceil(123 / probe["periodSeconds"])


def test_a_consumer_stands_beside_its_predictor_where_there_are_brokers() -> None:
    containers = kind(render(*case_flags("everything")), "InferenceService")["gpt4-nano"]["spec"][
        "predictor"
    ]["containers"]
    first, consumer = containers
    assert consumer["image"] == first["image"]
    assert consumer["command"] == ["python3", "-m", "predictors.gpt4_nano.pipeline"]
    brokers = env(first)["QUINTET_KAFKA_BOOTSTRAP_SERVERS"]
    assert env(consumer)["QUINTET_KAFKA_BOOTSTRAP_SERVERS"] == brokers == "kafka.streaming.svc:9092"
    known = {f"{PREFIX}{name.upper()}" for name in PipelineSettings.model_fields}
    assert {name for name in env(consumer) if name.startswith(PREFIX)} <= known, "unknown ones are refused"
    port = env(first)["QUINTET_TRITON_GRPC_PORT"]
    assert env(consumer)["QUINTET_TRITON_URL"] == f"localhost:{port}"
    alone = kind(render(), "InferenceService")["gpt4-nano"]["spec"]["predictor"]["containers"]
    assert len(alone) == 1, "without brokers there is nothing to take"


def annotated(objects: list[Object]) -> set[tuple[str, int]]:
    """Where a Prometheus that goes by prometheus.io/* asks: names of containers' ports with their numbers."""
    found: set[tuple[str, int]] = set()
    for name, isvc in kind(objects, "InferenceService").items():
        owners = [
            isvc,
            *(s for s in kind(objects, "Service").values() if name in s["spec"]["selector"].get("app", "")),
        ]
        for owner in owners:
            annotations = owner["metadata"].get("annotations", {})
            if annotations.get("prometheus.io/scrape") == "true":
                assert annotations["prometheus.io/path"] == "/metrics"
                port = int(annotations["prometheus.io/port"])
                for container in isvc["spec"]["predictor"]["containers"]:
                    found |= {(p["name"], port) for p in container["ports"] if p["containerPort"] == port}
    return found


def test_by_annotations_a_consumer_is_scraped_beside_its_predictor() -> None:
    """A pod's annotations have room for one port; the consumer's stands on a Service."""
    assert annotated(render(*case_flags("everything"))) == {("http1", 8080), ("consumer", 8008)}
    assert annotated(render()) == {("http1", 8080)}
    assert annotated(render(*case_flags("everything"), "--set", "metrics.annotations=false")) == set()


def test_keda_goes_by_the_lag_of_the_consumer_s_group() -> None:
    (trigger,) = kind(render(*case_flags("everything")), "ScaledObject")["gpt4-nano"]["spec"]["triggers"]
    assert trigger["type"] == "kafka"
    assert trigger["metadata"] == {
        "bootstrapServers": "kafka.streaming.svc:9092",
        "consumerGroup": PipelineSettings.model_fields["kafka_group"].default,
        "topic": REQUESTS,
        "lagThreshold": "100",
    }
