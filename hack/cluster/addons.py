"""What a cluster needs beside Kubernetes, from the manifests in the Go modules themselves."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from hack.cluster import certificates
from hack.cluster.kube import Kube, Object, until
from hack.cluster.places import DNS_SERVICE_IP, HOME, PKI
from hack.cluster.programs import KSERVE, PROGRAMS, source

KSERVE_NAMESPACE = "kserve"
GPU_NODES = {"gpu-t4-0": "Tesla-T4", "gpu-l40-0": "NVIDIA-L40"}
_COREFILE = """.:53 {
    errors
    health {
        lameduck 2s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
}
"""


def coredns(kube: Kube) -> None:
    """As kubeadm sets it up, answers that live for 30 s included."""
    labels = {"k8s-app": "kube-dns"}
    role = "system:coredns"
    rules = [
        {
            "apiGroups": [""],
            "resources": ["endpoints", "services", "pods", "namespaces"],
            "verbs": ["list", "watch"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    subject = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    container = {
        "name": "coredns",
        "image": "quintet-cluster/coredns:v1.14.0",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "resources": {"requests": {"cpu": "50m", "memory": "70Mi"}, "limits": {"memory": "170Mi"}},
        "ports": [{"containerPort": 53, "protocol": protocol} for protocol in ("UDP", "TCP")],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    kube.apply(
        [
            _object("v1", "ServiceAccount", "coredns"),
            _object("rbac.authorization.k8s.io/v1", "ClusterRole", role, None, rules=rules),
            _object(
                "rbac.authorization.k8s.io/v1",
                "ClusterRoleBinding",
                role,
                None,
                roleRef=reference,
                subjects=[subject],
            ),
            _object("v1", "ConfigMap", "coredns", data={"Corefile": _COREFILE}),
            _object(
                "v1",
                "Service",
                "kube-dns",
                spec={"clusterIP": DNS_SERVICE_IP, "selector": labels, "ports": ports},
            ),
            _object(
                "apps/v1",
                "Deployment",
                "coredns",
                spec={
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            ),
        ]
    )
    kube.rollout("kube-system", "deployment/coredns")


def metrics_server(
    kube: Kube, image: str = "quintet-cluster/metrics-server:v0.9.0", signed_kubelets: bool = True
) -> None:
    PKI.mkdir(parents=True, exist_ok=True)
    certificates.authority("ca")
    objects = _kustomized(kube, "metrics", "manifests", "base")
    certificates.certificate("metrics-server", "metrics-server", names=["metrics-server.kube-system.svc"])
    api = _one(objects, "APIService", "v1beta1.metrics.k8s.io")["spec"]
    api.pop("insecureSkipTLSVerify", None)
    api["caBundle"] = certificates.encoded(PKI / "ca.crt")
    pod = _one(objects, "Deployment", "metrics-server")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    container["image"] = image
    container["resources"] = {"requests": {"cpu": "50m", "memory": "50Mi"}}
    container["args"] = metrics_arguments(container["args"], signed_kubelets)
    container["readinessProbe"].update(initialDelaySeconds=2, periodSeconds=2)
    pod["volumes"] += [
        {"name": "tls", "secret": {"secretName": "metrics-server-tls"}},
        {"name": "authority", "configMap": {"name": "kube-root-ca.crt"}},
    ]
    container["volumeMounts"] += [
        {"name": "tls", "mountPath": "/tls", "readOnly": True},
        {"name": "authority", "mountPath": "/authority", "readOnly": True},
    ]
    kube.apply([*objects, _tls_secret("kube-system", "metrics-server-tls", "metrics-server")])
    kube.rollout("kube-system", "deployment/metrics-server")


def metrics_arguments(given: list[str], signed_kubelets: bool) -> list[str]:
    """Kubelets of kind and kubeadm sign their own certificates, which nobody can check."""
    return [
        *(one for one in given if not one.startswith("--cert-dir")),
        *("--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key"),
        "--kubelet-certificate-authority=/authority/ca.crt" if signed_kubelets else "--kubelet-insecure-tls",
    ]


def kwok(kube: Kube) -> None:
    """Fake nodes with GPUs: pods that land there are Running by word alone."""
    objects = _kustomized(kube, "kwok", "kustomize", "kwok")
    stages = _kustomized(kube, "kwok", "kustomize", "stage/fast")
    container = _one(objects, "Deployment", "kwok-controller")["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "quintet-cluster/kwok:v0.7.0"
    container["startupProbe"].update(periodSeconds=2, failureThreshold=30)
    definitions = _definitions(objects)
    kube.apply(definitions)
    _established(kube, definitions)
    kube.apply(
        [
            *(o for o in objects if o not in definitions),
            *stages,
            *(_gpu_node(*one) for one in GPU_NODES.items()),
        ]
    )
    room = {"cpu": "8", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "1"}
    status = json.dumps({"status": {"allocatable": room, "capacity": room}})
    for name in GPU_NODES:
        kube.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", status)
    kube.rollout("kube-system", "deployment/kwok-controller")


def _gpu_node(name: str, product: str) -> Object:
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "type": "kwok",
        "nvidia.com/gpu.product": product,
    }
    # The taint of real GPU nodes keeps what asks for no GPU away.
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    node = _object("v1", "Node", name, None, spec={"taints": [taint]})
    node["metadata"] |= {
        "labels": labels,
        "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
    }
    return node


def kserve(kube: Kube, image: str = f"quintet-cluster/kserve-controller:{KSERVE}") -> None:
    """KServe in Standard mode: no Knative, no Istio, no ingress, and certificates of our own."""
    PKI.mkdir(parents=True, exist_ok=True)
    certificates.authority("ca")
    service = "kserve-webhook-server-service"
    certificates.certificate("kserve-webhook", service, names=[f"{service}.{KSERVE_NAMESPACE}.svc"])
    kube.apply([_object("v1", "Namespace", KSERVE_NAMESPACE, None)])
    definitions = _kustomized(kube, "kserve", "config", "crd")
    kube.apply(definitions)
    _established(kube, definitions)
    parts = [
        o for part in ("rbac", "manager", "configmap") for o in _kustomized(kube, "kserve", "config", part)
    ]
    objects = [_in_namespace(o) for o in parts if o["metadata"]["name"] != "kserve-webhook-server-secret"]
    webhook = _kustomized(kube, "kserve", "config", "webhook")
    objects += [_in_namespace(o) for o in webhook if o["kind"] == "Service"]
    container = _one(objects, "Deployment", "kserve-controller-manager")["spec"]["template"]["spec"][
        "containers"
    ][0]
    container |= {"image": image, "imagePullPolicy": "IfNotPresent"}
    container["resources"] = {"requests": {"cpu": "50m", "memory": "100Mi"}, "limits": {"memory": "500Mi"}}
    container["readinessProbe"].update(initialDelaySeconds=2, periodSeconds=2)
    config = _one(objects, "ConfigMap", "inferenceservice-config")["data"]
    config.pop("_example", None)
    ingress = json.loads(config["ingress"]) | {
        "disableIngressCreation": True,
        "disableIstioVirtualHost": True,
    }
    config |= {"ingress": json.dumps(ingress), "deploy": json.dumps({"defaultDeploymentMode": "Standard"})}
    kube.apply([*objects, _tls_secret(KSERVE_NAMESPACE, "kserve-webhook-server-cert", "kserve-webhook")])
    kube.rollout(KSERVE_NAMESPACE, "deployment/kserve-controller-manager")
    hooks = [o for o in webhook if o["kind"].endswith("WebhookConfiguration")]
    for one in (one for hook in hooks for one in hook["webhooks"]):
        one["clientConfig"]["service"] |= {"name": service, "namespace": KSERVE_NAMESPACE}
        one["clientConfig"]["caBundle"] = certificates.encoded(PKI / "ca.crt")
    kube.apply(hooks)  # last: until the manager answers they would hold everything up
    # A manager that is ready is not yet one that the API server reaches.
    probe = _object("serving.kserve.io/v1beta1", "InferenceService", "probe", "default")
    probe["spec"] = {"predictor": {"containers": [{"name": "kserve-container", "image": "probe:1"}]}}
    asked = ("create", "--dry-run=server", "-f", "-")
    until(lambda: kube.answers(*asked, given=json.dumps(probe)), 120, "KServe's webhook admits a service")


def secret(kube: Kube, namespace: str = "quintet", name: str = "quintet-jwt") -> None:
    """The shared secret that signs tokens, made once."""
    kube.apply([_object("v1", "Namespace", namespace, None)])
    if not kube.answers("-n", namespace, "get", "secret", name):
        values = {key: secrets.token_hex(32) for key in ("current", "next")}
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        kube.apply([_object("v1", "Secret", name, namespace, type="Opaque", data=data)])


# --- helpers --------------------------------------------------------------------------------------


def _object(version: str, kind: str, name: str, namespace: str | None = "kube-system", **rest: Any) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _in_namespace(given: Object) -> Object:
    """What the project's own overlay does."""
    if given["kind"] not in ("ClusterRole", "ClusterRoleBinding"):
        given["metadata"]["namespace"] = KSERVE_NAMESPACE
    for subject in given.get("subjects") or []:
        subject["namespace"] = KSERVE_NAMESPACE
    return given


def _kustomized(kube: Kube, wrapper: str, folder: str, part: str) -> list[Object]:
    text = kube.kubectl("kustomize", str(manifests(wrapper, folder) / part))
    return [o for o in yaml.load_all(text, yaml.CSafeLoader) if o]


def manifests(wrapper: str, folder: str) -> Path:
    """kustomize wants a folder it may write to, which the module cache is not."""
    version = next(program.version for program in PROGRAMS if program.wrapper == wrapper)
    copy = HOME / "manifests" / f"{wrapper}-{version}"
    if not copy.is_dir():
        part = copy.with_name(f"{copy.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source(wrapper) / folder, part)
        for path in (part, *part.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
        part.rename(copy)
    return copy


def _one(objects: Iterable[Object], kind: str, name: str) -> Object:
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)


def _definitions(objects: Iterable[Object]) -> list[Object]:
    return [o for o in objects if o["kind"] == "CustomResourceDefinition"]


def _established(kube: Kube, definitions: Iterable[Object]) -> None:
    """`kubectl wait` fails at once on what has no status yet, hence again."""
    names = [f"crd/{o['metadata']['name']}" for o in definitions]
    wait = ("wait", "--for=condition=established", "--timeout=30s", *names)
    until(lambda: kube.answers(*wait), 90, "the definitions are established")


def _tls_secret(namespace: str, name: str, certificate: str) -> Object:
    data = {
        "tls.crt": certificates.encoded(PKI / f"{certificate}.crt"),
        "tls.key": certificates.encoded(PKI / f"{certificate}.key"),
        "ca.crt": certificates.encoded(PKI / "ca.crt"),
    }
    return _object("v1", "Secret", name, namespace, type="kubernetes.io/tls", data=data)
