"""What NetworkPolicies come to as firewall rules."""

from __future__ import annotations

from typing import Any

from hack.cluster.policies import Pod, matches, networks, render

GATEWAY = Pod("models", "1", "10.244.0.5", {"component": "gateway"}, {"http": 8080})
MODEL = Pod("models", "2", "10.244.0.6", {"component": "gpt2"}, {"http1": 8080, "grpc": 8081})
STRANGER = Pod("default", "3", "10.244.0.7", {}, {})
PODS = [GATEWAY, MODEL, STRANGER]
NAMESPACES = {"models": {"name": "models"}, "default": {"name": "default"}}


def policy(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "models"}, "spec": spec}


def rules(*policies: dict[str, Any]) -> list[str]:
    text, _ = render(PODS, NAMESPACES, policies)
    return [line.split(" ", 2)[2] for line in text.splitlines() if line.startswith("-A QP-")]


def test_without_policies_nothing_is_filtered() -> None:
    text, chains = render(PODS, NAMESPACES, [])
    assert chains == []
    assert "DROP" not in text


def test_named_callers_reach_named_ports_and_the_rest_is_dropped() -> None:
    caller = {"podSelector": {"matchLabels": {"component": "gateway"}}}
    found = rules(
        policy(
            podSelector={"matchLabels": {"component": "gpt2"}},
            policyTypes=["Ingress"],
            ingress=[{"from": [caller], "ports": [{"port": "grpc"}]}],
        )
    )
    assert found == ["-s 10.244.0.5/32 -p tcp -m tcp --dport 8081 -j RETURN", "-j DROP"]


def test_a_pod_under_a_policy_without_rules_is_shut() -> None:
    assert rules(policy(podSelector={}, policyTypes=["Ingress", "Egress"])) == ["-j DROP"] * 4


def test_a_pod_selector_means_the_policy_s_own_namespace() -> None:
    found = rules(
        policy(podSelector={"matchLabels": {"component": "gpt2"}}, ingress=[{"from": [{"podSelector": {}}]}])
    )
    assert not any(STRANGER.ip in rule for rule in found)
    everywhere = {"namespaceSelector": {}, "podSelector": {}}
    found = rules(
        policy(podSelector={"matchLabels": {"component": "gpt2"}}, ingress=[{"from": [everywhere]}])
    )
    assert any(STRANGER.ip in rule for rule in found)


def test_the_receivers_name_the_ports_of_egress() -> None:
    found = rules(
        policy(
            podSelector={"matchLabels": {"component": "gateway"}},
            policyTypes=["Egress"],
            egress=[
                {
                    "to": [{"podSelector": {"matchLabels": {"component": "gpt2"}}}],
                    "ports": [{"port": "http1"}],
                }
            ],
        )
    )
    assert found[0] == "-d 10.244.0.6/32 -p tcp -m tcp --dport 8080 -j RETURN"


def test_an_exception_is_cut_out_of_a_block() -> None:
    assert networks({"cidr": "10.0.0.0/30", "except": ["10.0.0.1/32"]}) == ["10.0.0.2/31", "10.0.0.0/32"]
    assert networks({"cidr": "10.0.0.0/30", "except": ["10.0.0.0/8"]}) == []


def test_expressions() -> None:
    labels = {"a": "1"}
    for operator, values, holds in (
        ("In", ["1"], True),
        ("NotIn", ["1"], False),
        ("Exists", None, True),
        ("DoesNotExist", None, False),
    ):
        assert (
            matches({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}, labels)
            is holds
        )
