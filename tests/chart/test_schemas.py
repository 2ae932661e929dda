"""Every object is what the APIs take, and every key that is misspelt is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from hack.chart.documented import read
from hack.helm import HelmFailed
from tests.support import custom_resources, kubernetes_models
from tests.support.charts import CASES, CHART, ROOT, Object, case_flags, kind, render, render_values

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
FIELDS = [field for top in read((CHART / "values.yaml").read_text()) for field in top.walk()]


def problems(found: Object) -> list[str]:
    ours = (found["apiVersion"], found["kind"]) in custom_resources.SOURCES
    return (custom_resources if ours else kubernetes_models).problems(found)


@pytest.mark.parametrize("case", CASES)
def test_objects_are_what_the_apis_take(case: str) -> None:
    objects = render(*case_flags(case))
    assert {o["kind"] for o in objects} >= {"InferenceService", "Deployment"}
    assert [problem for o in objects for problem in problems(o)] == []


@pytest.mark.parametrize("file", sorted((ROOT / "manifests").glob("*.yaml")), ids=lambda file: file.name)
def test_manifests_are_what_the_apis_take(file: Path) -> None:
    objects = list(yaml.safe_load_all(file.read_text()))
    assert [problem for o in objects for problem in problems(o)] == []


def test_the_check_of_objects_finds_a_misspelt_key() -> None:
    (isvc, *_) = (o for o in render() if o["kind"] == "InferenceService")
    isvc["spec"]["predictor"]["terminationGracePeriod"] = 5
    isvc["spec"]["predictor"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] = "5"
    assert problems(isvc) == [
        "InferenceService.spec.predictor.containers[0].lifecycle.preStop.sleep.seconds: '5' is no int",
        "InferenceService.spec.predictor.terminationGracePeriod: unknown",
    ]


@pytest.mark.parametrize(
    ("case", "wanted", "spoil"),
    [
        ("keda", "ScaledObject", lambda spec: spec.update(minReplicas=1)),
        ("keda", "ScaledObject", lambda spec: spec["triggers"][0].update(metadata={"threshold": 5})),
        ("keda", "ScaledObject", lambda spec: spec.pop("scaleTargetRef")),
        ("keda", "HTTPRoute", lambda spec: spec["rules"][0].update(timeouts={"request": "soon"})),
        ("keda", "HTTPRoute", lambda spec: spec["rules"][0]["backendRefs"][0].update(port="http")),
        ("company", "PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(portName="http1")),
        ("company", "PodMonitor", lambda spec: spec.update(selector=None)),
    ],
)
def test_the_check_of_other_projects_objects_finds_mistakes(case: str, wanted: str, spoil: Any) -> None:
    found = next(iter(kind(render(*case_flags(case)), wanted).values()))
    assert problems(found) == []
    spoil(found["spec"])
    assert problems(found)


def test_the_values_as_they_come_are_valid() -> None:
    assert jsonschema_rs.is_valid(SCHEMA, VALUES)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: ".".join(field.path))
def test_a_misspelt_key_is_refused(field: Any) -> None:
    misspelt: dict[str, Any] = {f"{field.name}z": field.default}
    for part in reversed(field.path[:-1]):
        misspelt = {part: misspelt}
    assert not jsonschema_rs.is_valid(SCHEMA, misspelt), "additionalProperties is open somewhere"


MODEL_FIELDS = [field for field in FIELDS if field.path[0] == "modelDefaults" and len(field.path) > 1]


@pytest.mark.parametrize("field", MODEL_FIELDS, ids=lambda field: ".".join(field.path[1:]))
def test_a_model_takes_the_keys_of_the_defaults_and_no_other(field: Any) -> None:
    right: Any = field.default
    wrong: dict[str, Any] = {f"{field.name}z": field.default}
    right = {field.name: right}
    for part in reversed(field.path[1:-1]):
        right, wrong = {part: right}, {part: wrong}
    assert jsonschema_rs.is_valid(SCHEMA, {"models": {"gpt2": right}})
    assert not jsonschema_rs.is_valid(SCHEMA, {"models": {"gpt2": wrong}})


def test_helm_names_the_place_of_a_misspelt_key(tmp_path: Path) -> None:
    with pytest.raises(HelmFailed) as refused:
        render_values({"models": {"gpt2": {"autoscaling": {"maximum": 3}}}}, tmp_path)
    assert "maximum" in str(refused.value)
    assert "/models/gpt2/autoscaling" in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": 1},
        {"models": {"gpt2": {"egress": {"storeSetting": "URL"}}}},
        {"models": {"GPT-2": {}}},
        {"models": {"gpt2": {"image": {"digest": "sha256:0"}}}},
        {"models": {"gpt2": {"weights": {"uri": "/mnt/models"}}}},
        {"models": {"gpt2": {"gateway": {"routes": [{"path": "/a", "method": "POST"}]}}}},
        {"gateway": {"issuers": []}},
        {"gateway": {"issuers": [{"name": "a", "issuer": "b", "audiences": ["c"], "keys": {"value": "d"}}]}},
        {"gateway": {"serviceType": "Public"}},
        {"accelerators": {"t4": {"nodeselector": {}}}},
    ],
    ids=json.dumps,
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    assert not jsonschema_rs.is_valid(SCHEMA, wrong)
