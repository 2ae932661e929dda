"""NetworkPolicy (networking.k8s.io/v1, IPv4) for the node's bridge, with iptables.

Frames between pods pass FORWARD (bridge-nf-call-iptables), after kube-proxy has put real addresses into
them, so rules name pods. What the node itself sends to a pod, its probes, is never filtered.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVERYBODY = "0.0.0.0/0"
MAIN_CHAIN = "QUINTET-POLICIES"
POLL_SECONDS = 0.5

Json = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    namespace: str
    uid: str
    ip: str
    labels: Mapping[str, str]
    ports: Mapping[str, int]
    """By name."""


def matches(selector: Json, labels: Mapping[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or [])


def _holds(expression: Json, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(expression["operator"])


def networks(block: Json) -> list[str]:
    """An ipBlock without what it excepts."""
    nets = [ipaddress.IPv4Network(block["cidr"], strict=False)]
    for text in block.get("except") or []:
        hole = ipaddress.IPv4Network(text, strict=False)
        nets = [part for net in nets for part in _without(net, hole)]
    return [str(net) for net in nets]


def _without(net: ipaddress.IPv4Network, hole: ipaddress.IPv4Network) -> Iterable[ipaddress.IPv4Network]:
    if net.subnet_of(hole):
        return []
    return net.address_exclude(hole) if hole.subnet_of(net) else [net]


def peers(
    given: Sequence[Json] | None,
    namespace: str,
    pods: Sequence[Pod],
    namespaces: Mapping[str, Mapping[str, str]],
) -> list[str]:
    if not given:
        return [EVERYBODY]
    found: list[str] = []
    for peer in given:
        if "ipBlock" in peer:
            found += networks(peer["ipBlock"])
            continue
        chosen = {namespace}
        if "namespaceSelector" in peer:
            chosen = {
                n for n, labels in namespaces.items() if matches(peer["namespaceSelector"] or {}, labels)
            }
        selector = peer.get("podSelector") or {}
        found += [f"{p.ip}/32" for p in pods if p.namespace in chosen and matches(selector, p.labels)]
    return found


def ports(given: Sequence[Json] | None, receivers: Sequence[Pod]) -> list[str]:
    """As iptables says them. A named port is looked up in the pods that would receive."""
    if not given:
        return [""]
    found: list[str] = []
    for port in given:
        protocol, number = port.get("protocol", "TCP").lower(), port.get("port")
        if number is None:
            found.append(f"-p {protocol}")
            continue
        end = f":{port['endPort']}" if port.get("endPort") else ""
        numbers = (
            {p.ports[number] for p in receivers if number in p.ports} if isinstance(number, str) else {number}
        )
        found += [f"-p {protocol} -m {protocol} --dport {one}{end}" for one in sorted(numbers)]
    return found


def render(
    pods: Sequence[Pod], namespaces: Mapping[str, Mapping[str, str]], policies: Sequence[Json]
) -> tuple[str, list[str]]:
    """The input of iptables-restore and its chains: one a pod and direction that is under a policy."""
    jumps: list[str] = []
    chains: dict[str, list[str]] = {}
    for pod in pods:
        for way, key, own, other in (("Ingress", "from", "-d", "-s"), ("Egress", "to", "-s", "-d")):
            mine = [policy for policy in policies if _applies(policy, pod, way)]
            if not mine:
                continue
            chain = f"QP-{way[0]}-{hashlib.sha256((pod.uid + way).encode()).hexdigest()[:16]}"
            jumps.append(f"-A {MAIN_CHAIN} {own} {pod.ip}/32 -j {chain}")
            rules: set[str] = set()
            for rule in (rule for policy in mine for rule in policy["spec"].get(way.lower()) or []):
                for port in ports(rule.get("ports"), [pod] if way == "Ingress" else pods):
                    for peer in peers(rule.get(key), pod.namespace, pods, namespaces):
                        rules.add(f"-A {chain} {other} {peer} {port} -j RETURN")
            chains[chain] = [*sorted(rules), f"-A {chain} -j DROP"]
    established = f"-A {MAIN_CHAIN} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
    lines = ["*filter", *(f":{chain} - [0:0]" for chain in (MAIN_CHAIN, *chains)), established, *jumps]
    lines += [rule for rules in chains.values() for rule in rules]
    return "\n".join([*lines, "COMMIT", ""]), list(chains)


def _applies(policy: Json, pod: Pod, way: str) -> bool:
    spec = policy["spec"]
    ways = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    same = policy["metadata"]["namespace"] == pod.namespace
    return same and way in ways and matches(spec.get("podSelector") or {}, pod.labels)


# --- edges ----------------------------------------------------------------------------------------


def reader(kubeconfig: Path) -> Callable[[str], list[Json]]:
    """A function from a path of the API to the items of its list."""
    config = json.loads(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(
        cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
    )
    with tempfile.NamedTemporaryFile() as file:
        for part in ("client-certificate-data", "client-key-data"):
            file.write(base64.b64decode(user[part]) + b"\n")
        file.flush()
        context.load_cert_chain(file.name)
    host, _, port = cluster["server"].removeprefix("https://").partition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)

    def items(path: str) -> list[Json]:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"{path}: {answer.status}")
        return json.loads(body)["items"]

    return items


def _pods(items: Iterable[Json]) -> list[Pod]:
    found: list[Pod] = []
    for item in items:
        status, spec, metadata = item["status"], item["spec"], item["metadata"]
        if status.get("podIP") and not spec.get("hostNetwork") and status["phase"] in ("Pending", "Running"):
            named = {
                port["name"]: port["containerPort"]
                for container in spec["containers"]
                for port in container.get("ports") or []
                if port.get("name")
            }
            found.append(
                Pod(
                    metadata["namespace"],
                    metadata["uid"],
                    status["podIP"],
                    metadata.get("labels") or {},
                    named,
                )
            )
    return found


def _apply(text: str, gone: Iterable[str]) -> None:
    subprocess.run(["iptables-restore", "--noflush", "-w"], input=text, text=True, check=True)
    for hook in ("FORWARD", "INPUT"):
        there = subprocess.run(["iptables", "-w", "-C", hook, "-j", MAIN_CHAIN], capture_output=True)
        if there.returncode:
            subprocess.run(["iptables", "-w", "-I", hook, "1", "-j", MAIN_CHAIN], check=True)
    for chain in gone:
        subprocess.run(["iptables", "-w", "-F", chain], check=False)
        subprocess.run(["iptables", "-w", "-X", chain], check=False)


def main(kubeconfig: Path) -> None:
    items, before, chains = reader(kubeconfig), "", []
    while True:
        try:
            namespaces = {
                n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in items("/api/v1/namespaces")
            }
            policies = items("/apis/networking.k8s.io/v1/networkpolicies")
            text, now = render(_pods(items("/api/v1/pods")), namespaces, policies)
            if text != before:
                _apply(text, set(chains) - set(now))
                before, chains = text, now
                print(f"{len(chains)} chains", flush=True)
        except Exception as problem:  # the API server is starting, or was started again
            print(f"again: {problem!r}"[:300], flush=True)
            items = reader(kubeconfig)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
