"""Objects of projects that publish no Python classes, against the schemas of their own CRDs.

tests/support/crds has what those say of a version's shape, without the prose, under their licence: KEDA, the
Prometheus operator and Gateway API are Apache-2.0. ``python -m tests.support.custom_resources`` makes the
files anew from the Go modules named below. A key that is not in a schema is a problem; rules in CEL are
left to the API server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

FOLDER = Path(__file__).with_name("crds")
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.5.1"
SOURCES = {
    ("keda.sh/v1alpha1", "ScaledObject"): (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    ("monitoring.coreos.com/v1", "PodMonitor"): (
        OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): (
        GATEWAY_API,
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
}
_SHAPE = (
    *(
        "type",
        "properties",
        "items",
        "required",
        "enum",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "pattern",
        "nullable",
    ),
    *("additionalProperties", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"),
)


def problems(found: dict[str, Any]) -> list[str]:
    errors = _validator(found["apiVersion"], found["kind"]).iter_errors(found)
    return [
        f"{'.'.join(map(str, [found['kind'], *error.instance_path]))}: {error.message}" for error in errors
    ]


@cache
def _validator(version: str, kind: str) -> Any:
    return jsonschema_rs.Draft202012Validator(_closed(json.loads(_file(kind).read_text())))


def _file(kind: str) -> Path:
    return FOLDER / f"{kind.lower()}.json"


def _closed(schema: Any, named: bool = False) -> Any:
    """As the API server reads it: what is not named is refused, and null is only what is nullable."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value, named=key == "properties") for key, value in schema.items()}
    if named:
        return made
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.pop("nullable", False):
        return {"anyOf": [made, {"type": "null"}]}
    return made


def shape(schema: Any) -> Any:
    """Without what only a person reads."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key not in _SHAPE:
            continue
        if key == "properties":
            found[key] = {name: shape(part) for name, part in value.items()}
        elif key in ("anyOf", "oneOf", "allOf"):
            found[key] = [shape(part) for part in value]
        else:
            found[key] = shape(value) if isinstance(value, dict) else value
    return found


def renew() -> None:
    FOLDER.mkdir(exist_ok=True)
    for (version, kind), (module, path) in SOURCES.items():
        crd = yaml.safe_load((_module(module) / path).read_text())
        (served,) = (v for v in crd["spec"]["versions"] if v["name"] == version.rpartition("/")[2])
        whole = shape(served["schema"]["openAPIV3Schema"])
        whole["properties"].pop("status", None)
        licence = f"Apache-2.0; the shape of {path} in {module}, changed: without descriptions and status"
        _file(kind).write_text(json.dumps({"$comment": licence, **whole}, separators=(",", ":")) + "\n")


def _module(name: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "go.mod").write_text("module quintet.local/crds\n")
        command = ["go", "mod", "download", "-json", name]
        environ = {**os.environ, "GOFLAGS": "-mod=mod"}
        done = subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    return Path(json.loads(done.stdout)["Dir"])


if __name__ == "__main__":
    sys.exit(renew())
