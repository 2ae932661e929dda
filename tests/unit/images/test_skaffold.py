"""skaffold.yaml in step with the Dockerfiles and the chart, without skaffold itself."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.charts import CHART, containers, kind, pod_specs, render

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = {
    config["metadata"]["name"]: config for config in yaml.safe_load_all((ROOT / "skaffold.yaml").read_text())
}
MAIN = CONFIGS["quintet"]
ARTIFACTS = MAIN["build"]["artifacts"]
TAG = "v1-dirty"


def with_profile(name: str | None) -> dict[str, Any]:
    config = copy.deepcopy(MAIN)
    if name is not None:
        (profile,) = (profile for profile in config["profiles"] if profile["name"] == name)
        for section in ("build", "deploy"):
            config[section] = {**config[section], **profile.get(section, {})}
        for patch in profile.get("patches", []):
            *way, last = patch["path"].strip("/").split("/")
            place: Any = config
            for part in way:
                place = place[int(part)] if isinstance(place, list) else place[part]
            if patch["op"] == "add":
                place[last] = patch["value"]
            else:
                assert patch["op"] == "remove"
                del place[last]
    return config


def filled(value: str) -> str:
    """A template of skaffold's as it fills it for a local build."""
    for artifact in ARTIFACTS:
        name = artifact["image"].replace("/", "_").replace("-", "_")
        value = value.replace(f"{{{{.IMAGE_REPO_{name}}}}}", artifact["image"])
        value = value.replace(f"{{{{.IMAGE_TAG_{name}}}}}", TAG)
    return value


def helm_flags(config: dict[str, Any]) -> list[str]:
    (release,) = config["deploy"]["helm"]["releases"]
    flags = [flag for file in release.get("valuesFiles", []) for flag in ("--values", str(ROOT / file))]
    given = {**release.get("setValues", {}), **release.get("setValueTemplates", {})}
    for name, value in given.items():
        text = str(value).lower() if isinstance(value, bool) else filled(str(value))
        flags += ["--set", f"{name}={text}"]
    return flags


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_config_is_of_one_schema(config: dict[str, Any]) -> None:
    assert config["apiVersion"] == "skaffold/v4beta13"
    assert config["kind"] == "Config"


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact["image"])
def test_what_an_artifact_names_is_there(artifact: dict[str, Any]) -> None:
    dockerfile = ROOT / artifact["context"] / artifact["docker"]["dockerfile"]
    assert dockerfile.is_file()
    if target := artifact["docker"].get("target"):
        assert f" AS {target}\n" in dockerfile.read_text()
    for rule in artifact.get("sync", {}).get("manual", []):
        assert list(ROOT.glob(rule["src"])), rule["src"]
        folder = rule["src"].split("/**")[0]
        copied = [line.split()[1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
        assert folder in copied, "a file that the image does not have need not be copied into it"


def test_every_image_is_built_and_the_other_way_round() -> None:
    used = {c["image"].rpartition(":")[0] for _, spec, _ in pod_specs(render()) for c in containers(spec)}
    assert used == {artifact["image"] for artifact in ARTIFACTS}


@pytest.mark.parametrize("profile", [None, "kind", "minikube", "gpu"])
def test_a_profile_renders_with_its_own_images(profile: str | None) -> None:
    objects = render(*helm_flags(with_profile(profile)), namespace="quintet")
    images = {c["image"] for _, spec, _ in pod_specs(objects) for c in spec["containers"]}
    assert images
    assert all(image.endswith(f":{TAG}") for image in images), "an image that skaffold does not fill in"


@pytest.mark.parametrize("profile", [None, "kind", "minikube"])
def test_where_files_are_synced_they_can_be_written_and_are_read_again(profile: str | None) -> None:
    config = with_profile(profile)
    objects = render(*helm_flags(config), namespace="quintet")
    specs = {
        spec["containers"][0]["image"].rpartition(":")[0]: spec
        for name, spec, _ in pod_specs(objects)
        if not name.endswith("-test")
    }
    for artifact in config["build"]["artifacts"]:
        if "sync" in artifact:
            first = specs[artifact["image"]]["containers"][0]
            assert artifact["docker"]["target"] == "dev", "its sources belong to the container's user"
            assert first["securityContext"]["readOnlyRootFilesystem"] is False
            assert first["command"][:3] == ["python3", "-m", "watchfiles"]
            for rule in artifact["sync"]["manual"]:
                assert rule["dest"] == first["command"][-1] == "/app"


def test_the_gpu_profile_ships_production_s_images() -> None:
    config = with_profile("gpu")
    assert config["build"]["local"]["push"] is True
    assert not any("target" in artifact["docker"] for artifact in config["build"]["artifacts"])
    objects = render(*helm_flags(config), namespace="quintet")
    for _, spec, _ in pod_specs(objects):
        assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in spec["containers"])


def test_the_forwarded_service_is_the_gateway_s() -> None:
    (forward,) = MAIN["portForward"]
    services = kind(render(namespace=forward["namespace"]), "Service")
    assert forward["port"] in {port["port"] for port in services[forward["resourceName"]]["spec"]["ports"]}
    assert forward["localPort"] == 8080


def test_hooks_are_targets_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    hooks = [
        *(
            h["host"]["command"]
            for c in CONFIGS.values()
            for d in c["deploy"].values()
            for h in d["hooks"]["before"]
        ),
        *(h["command"] for a in ARTIFACTS for h in a.get("hooks", {}).get("before", [])),
    ]
    assert hooks
    for program, target in hooks:
        assert program == "make"
        assert f"\n{target}: " in makefile


def test_the_chart_s_path_is_right() -> None:
    (release,) = MAIN["deploy"]["helm"]["releases"]
    assert (ROOT / release["chartPath"]).samefile(CHART)
