"""What the chart prints at the end can be pasted: real commands, about objects that are there."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from gateway.__main__ import app
from hack.helm import helm
from tests.support.charts import CASES, CHART, case_flags, kind, render


def notes(case: str) -> str:
    flags = ["--namespace", "models", "--dry-run=client", *case_flags(case)]
    return helm("install", "quintet", str(CHART), *flags).partition("\nNOTES:\n")[2]


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line.strip()) for line in text.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("case", CASES)
def test_commands_name_objects_that_are_there(case: str) -> None:
    objects = render(*case_flags(case))
    said = " ".join(word for command in commands(notes(case)) for word in command)
    for what, name in re.findall(r"\b(service|deployment)/([a-z0-9-]+)", said):
        assert name in kind(objects, what.capitalize())
    (selector,) = re.findall(r"-l (\S+)=(\S+) ", said)
    for isvc in kind(objects, "InferenceService").values():
        assert isvc["metadata"]["labels"][selector[0]] == selector[1]


@pytest.mark.parametrize("case", CASES)
def test_the_forwarded_port_is_the_service_s(case: str) -> None:
    (forward,) = (c for c in commands(notes(case)) if "port-forward" in c)
    service = kind(render(*case_flags(case)), "Service")["quintet-gateway"]
    assert int(forward[-1].split(":")[1]) in {port["port"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("case", CASES)
def test_calls_go_to_the_forwarded_port_over_the_right_scheme(case: str) -> None:
    tls = "tls:" in kind(render(*case_flags(case)), "ConfigMap")["quintet-gateway"]["data"]["gateway.yaml"]
    calls = [c for c in commands(notes(case)) if c[0] == "curl"]
    assert calls
    for call in calls:
        (address,) = (word for word in call if "localhost" in word)
        assert address.startswith(f"{'https' if tls else 'http'}://localhost:8080/")


def test_the_token_s_command_is_one_of_the_gateway_s() -> None:
    from typer.main import get_command

    text = notes("demo")
    (command,) = re.findall(r"python3 -m gateway (.+)\)$", text, re.MULTILINE)
    name, *arguments = shlex.split(command)
    get_command(app).commands[name].make_context(name, arguments)  # pyright: ignore[reportAttributeAccessIssue]


def test_where_no_secret_signs_no_token_is_promised() -> None:
    assert "gateway token" not in notes("company")


@pytest.mark.parametrize("case", CASES)
def test_the_token_that_calls_carry_is_set_before(case: str) -> None:
    before, _, calls = notes(case).partition("\nCall:\n")
    assert "$TOKEN" in calls
    assert any(command[0].startswith("TOKEN=") for command in commands(before))


@pytest.mark.parametrize("case", ["company", "keda"])
def test_where_no_secret_signs_it_is_said_whom_to_ask_and_for_what(case: str) -> None:
    before, _, _ = notes(case).partition("\nCall:\n")
    (config,) = (
        c["data"]
        for c in kind(render(*case_flags(case)), "ConfigMap").values()
        if "gateway.yaml" in c["data"]
    )
    (issuer,) = yaml.safe_load(config["gateway.yaml"])["issuers"]
    for what in (issuer["issuer"], *issuer["audiences"], "infer:*", "read:models"):
        assert what in before


@pytest.mark.parametrize("case", CASES)
def test_a_test_is_offered_where_there_is_one(case: str) -> None:
    assert ("helm test" in notes(case)) == ("quintet-test" in kind(render(*case_flags(case)), "Pod"))


def test_demo_weights_are_called_so() -> None:
    assert "small demonstrations" in notes("demo")
    assert "small demonstrations" not in notes("gpu")
