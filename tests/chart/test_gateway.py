"""The gateway as the chart configures it: its loader and Envoy take it, and it leads to the predictors."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from gateway import process
from gateway.loading import Loaded, load
from gateway.render import render as render_gateway
from tests.support.certificates import write_certificate
from tests.support.charts import CASES, ROOT, Object, case_flags, kind, render

LOCAL = yaml.safe_load((ROOT / "gateway" / "local.yaml").read_text())


def config_of(objects: list[Object]) -> Object:
    (config,) = (o for o in kind(objects, "ConfigMap").values() if "gateway.yaml" in o["data"])
    return yaml.safe_load(config["data"]["gateway.yaml"])


def load_mounted(config: Object, folder: Path) -> Loaded:
    """As in the pod, whose root is `folder`: the file and the Secrets that the Deployment mounts."""
    config = yaml.safe_load(yaml.safe_dump(config).replace("/etc/quintet-", f"{folder}/"))
    for issuer in config["issuers"]:
        for name in issuer["keys"].get("secret_files", []):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(secrets.token_hex(32))
        if name := issuer["keys"].get("jwks_file"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(jwks())
    if tls := config["listen"].get("tls"):
        write_certificate(Path(tls["cert_file"]).parent)
    (folder / "gateway.yaml").write_text(yaml.safe_dump(config))
    return load(folder / "gateway.yaml", {})


def jwks() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return json.dumps({"keys": [{**RSAAlgorithm.to_jwk(key, as_dict=True), "kid": "a"}]})


@pytest.mark.parametrize("case", CASES)
def test_gateway_and_envoy_take_the_config(case: str, tmp_path: Path) -> None:
    loaded = load_mounted(config_of(render(*case_flags(case))), tmp_path)
    (tmp_path / "run").mkdir()
    process.validate(render_gateway(loaded, tmp_path / "run").bootstrap)


@pytest.mark.parametrize("case", CASES)
def test_what_the_config_names_is_mounted(case: str) -> None:
    objects = render(*case_flags(case))
    config = config_of(objects)
    (spec,) = (o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment")
    mounts = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == volumes
    for issuer in config["issuers"]:
        for file in [
            *issuer["keys"].get("secret_files", []),
            *filter(None, [issuer["keys"].get("jwks_file")]),
        ]:
            assert str(Path(file).parent) in mounts
    assert ("/etc/quintet-tls" in mounts) == ("tls" in config["listen"])


@pytest.mark.parametrize("case", CASES)
def test_every_model_is_routed_to_a_service_that_is_there(case: str) -> None:
    objects = render(*case_flags(case))
    services = kind(objects, "Service")
    models = config_of(objects)["models"]
    assert {name.replace("_", "-") for name in models} == set(kind(objects, "InferenceService"))
    for model in models.values():
        name, namespace, *_ = model["upstream"]["host"].split(".")
        service = services[name]
        assert service["metadata"]["namespace"] == namespace
        assert service["spec"]["clusterIP"] == "None", "the gateway judges replicas one by one"
        ports = {port["port"] for port in service["spec"]["ports"]}
        assert {model["upstream"]["http_port"], model["upstream"]["grpc_port"]} <= ports


def test_the_routes_are_those_of_the_local_stack() -> None:
    models = config_of(render())["models"]
    for name in set(models) & set(LOCAL["models"]):
        assert models[name]["routes"] == LOCAL["models"][name]["routes"], name


def test_probes_and_prometheus_ask_the_monitoring_port() -> None:
    objects = render()
    config = config_of(objects)
    (spec,) = (o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment")
    ports = {port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]}
    assert ports == {"http": config["listen"]["port"], "monitoring": config["monitoring"]["port"]}


def test_the_end_of_a_gateway_has_time() -> None:
    objects = render()
    drain = config_of(objects)["drain"]
    (spec,) = (o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment")
    learn = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > learn + drain["delay"] + drain["grace"]


def test_a_changed_config_rolls_the_gateway_and_nothing_else() -> None:
    before, after = render(), render("--set", "gateway.limits.max_headers=50")
    changed = [b["kind"] for a, b in zip(before, after, strict=True) if a != b]
    assert changed == ["ConfigMap", "Deployment"]


@pytest.mark.parametrize("case", ["company", "everything"])
def test_promtool_takes_the_scrape_config(case: str, promtool: str, tmp_path: Path) -> None:
    (config,) = (
        o for o in kind(render(*case_flags(case)), "ConfigMap").values() if "prometheus.yml" in o["data"]
    )
    file = tmp_path / "prometheus.yml"
    file.write_text(config["data"]["prometheus.yml"])
    done = subprocess.run(
        [promtool, "check", "config", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
