"""The gateway may ask Kubernetes how the models are, and nothing more; other pods may ask nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chart.test_gateway import config_of, load_mounted
from tests.support.charts import CASES, Object, case_flags, kind, pod_specs, render

OFF = "gateway.catalogue.kubernetes=false"


def tokens(spec: Object) -> dict[str, list[Any]]:
    """By volume: the projections of a ServiceAccount's token."""
    return {
        volume["name"]: found
        for volume in spec["volumes"]
        if (
            found := [s for s in volume.get("projected", {}).get("sources", []) if "serviceAccountToken" in s]
        )
    }


def test_it_may_list_two_kinds_in_its_namespace() -> None:
    objects = render()
    assert not {"ClusterRole", "ClusterRoleBinding"} & {o["kind"] for o in objects}
    (role,), (binding,) = kind(objects, "Role").values(), kind(objects, "RoleBinding").values()
    allowed = {
        (g, r): set(rule["verbs"])
        for rule in role["rules"]
        for g in rule["apiGroups"]
        for r in rule["resources"]
    }
    assert allowed == {
        ("serving.kserve.io", "inferenceservices"): {"list"},
        ("apps", "deployments"): {"list"},
    }
    assert not any("resourceNames" in rule for rule in role["rules"]), "lists cannot be narrowed by name"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    (gateway,) = kind(objects, "Deployment").values()
    assert subject["name"] == gateway["spec"]["template"]["spec"]["serviceAccountName"]
    assert {o["metadata"]["namespace"] for o in (role, binding)} == {subject["namespace"]} == {"models"}


@pytest.mark.parametrize("case", CASES)
def test_only_the_gateway_has_a_token_and_a_short_one(case: str) -> None:
    objects = render(*case_flags(case))
    asks = "portal" in config_of(objects)
    for name, spec, _ in pod_specs(objects):
        found = [s["serviceAccountToken"] for sources in tokens(spec).values() for s in sources]
        if name.endswith("-gateway") and asks:
            assert found == [{"path": "token", "expirationSeconds": 3600}]
        else:
            assert found == []


def test_the_config_names_the_files_that_are_mounted(tmp_path: Path) -> None:
    objects = render()
    asked = load_mounted(config_of(objects), tmp_path).config.portal.kubernetes
    assert asked is not None
    (spec,) = (o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment")
    (volume,) = (v for v in spec["volumes"] if v["name"] in tokens(spec))
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == volume["name"])
    assert mount["readOnly"] is True
    there = {
        "token",
        *(i["path"] for s in volume["projected"]["sources"] for i in s.get("configMap", {}).get("items", [])),
    }
    place = tmp_path / mount["mountPath"].removeprefix("/etc/quintet-")
    assert {asked.token_file, asked.ca_file} == {place / name for name in there}


@pytest.mark.parametrize("release", ["quintet", "blue"])
def test_it_asks_for_what_the_release_has(release: str) -> None:
    objects = render(*case_flags("everything"), name=release)
    config = config_of(objects)
    asked = config["portal"]["kubernetes"]
    label, _, value = asked["selector"].partition("=")
    services = kind(objects, "InferenceService")
    assert {model["inference_service"] for model in config["models"].values()} == set(services)
    for service in services.values():
        assert service["metadata"]["labels"][label] == value == release
        assert service["metadata"]["namespace"] == asked["namespace"]


def test_the_kind_of_node_is_the_accelerator() -> None:
    models = config_of(render(*case_flags("everything")))["models"]
    kinds = {name: model["node_kind"] for name, model in models.items()}
    rest = dict.fromkeys(("gpt4_nano", "multitask_nlp", "gpt2"), "none")
    assert kinds == {"prompt_classifier": "t4", "text_evaluator": "l40", **rest}


def test_the_gateway_reaches_the_api_server() -> None:
    flags = (
        "--set",
        "networkPolicy.apiServer.to[0].ipBlock.cidr=10.0.0.0/28,networkPolicy.apiServer.ports={6443}",
    )
    policy = kind(render(*flags), "NetworkPolicy")["quintet-gateway"]
    rule = {"to": [{"ipBlock": {"cidr": "10.0.0.0/28"}}], "ports": [{"port": 6443}]}
    assert rule in policy["spec"]["egress"]
    others = [p for name, p in kind(render(*flags), "NetworkPolicy").items() if name != "quintet-gateway"]
    assert not any(rule in other["spec"]["egress"] for other in others)


def test_it_can_be_left_out() -> None:
    objects = render("--set", OFF)
    assert not {"Role", "RoleBinding"} & {o["kind"] for o in objects}
    assert "portal" not in config_of(objects)
    egress = kind(objects, "NetworkPolicy")["quintet-gateway"]["spec"]["egress"]
    assert not any("ipBlock" in peer for rule in egress for peer in rule.get("to", []))
