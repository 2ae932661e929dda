"""Objects against the real schemas, offline: the classes made from Kubernetes' and KServe's OpenAPI.

A key that the API does not know, and a value of another type, is a problem with its path. What is required is
left to the API server (tests/cluster).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

# A kind -> the class that its API's OpenAPI was turned into.
KINDS = {
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("v1", "Pod"): "V1Pod",
    ("v1", "Secret"): "V1Secret",
    ("v1", "Service"): "V1Service",
    ("v1", "ServiceAccount"): "V1ServiceAccount",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "V2HorizontalPodAutoscaler",
    ("batch/v1", "Job"): "V1Job",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
    ("networking.k8s.io/v1", "Ingress"): "V1Ingress",
    ("rbac.authorization.k8s.io/v1", "Role"): "V1Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "V1RoleBinding",
    ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
    ("serving.kserve.io/v1beta1", "InferenceService"): "V1beta1InferenceService",
}

_SCALARS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "datetime": str,
}


def problems(found: dict[str, Any]) -> list[str]:
    key = (found["apiVersion"], found["kind"])
    return list(_walk(found, KINDS[key], found["kind"]))


def _class(name: str) -> Any:
    name = re.sub(r"^K8sIoApi[A-Z][a-z]+(?=V\d)", "", name)  # how KServe names what is Kubernetes'
    for package in ("kserve.models", "kubernetes.client.models"):
        module = importlib.import_module(package)
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(name)


def _walk(value: Any, expected: str, path: str) -> Iterator[str]:
    if match := re.fullmatch(r"[lL]ist\[(.+)\]", expected):
        if not isinstance(value, list):
            yield f"{path}: not a list"
            return
        for i, entry in enumerate(value):
            yield from _walk(entry, match[1], f"{path}[{i}]")
    elif match := re.fullmatch(r"[dD]ict[(\[]str, (.+)[)\]]", expected):
        if not isinstance(value, dict):
            yield f"{path}: not a map"
            return
        for key, entry in value.items():
            yield from _walk(entry, match[1], f"{path}.{key}")
    elif expected in ("object", "IntOrString", "K8sIoApimachineryPkgApisMetaV1Quantity"):
        return  # quantities and int-or-string are free-form here
    elif expected in _SCALARS:
        right = isinstance(value, _SCALARS[expected]) and (expected == "bool" or not isinstance(value, bool))
        if not right:
            yield f"{path}: {value!r} is no {expected}"
    else:
        yield from _fields(value, expected, path)


def _fields(value: Any, expected: str, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: not a map"
        return
    model = _class(expected)
    types = {wire: model.openapi_types[field] for field, wire in model.attribute_map.items()}
    for key, entry in value.items():
        if key not in types:
            yield f"{path}.{key}: unknown"
        else:
            yield from _walk(entry, types[key], f"{path}.{key}")
