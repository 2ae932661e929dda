"""skaffold.yaml in step with the Dockerfiles and the chart, without skaffold itself."""

from __future__ import annotations

import copy
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.demo_models import MAKERS, demo_models
from tests.support.charts import CHART, containers, kind, pod_specs, render
from tests.unit.images.test_dockerfiles import copied, instructions

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = {
    config["metadata"]["name"]: config for config in yaml.safe_load_all((ROOT / "skaffold.yaml").read_text())
}
MAIN = CONFIGS["quintet"]
ARTIFACTS = MAIN["build"]["artifacts"]
BUILT = [artifact for artifact in ARTIFACTS if "docker" in artifact]
(DEMO,) = (artifact for artifact in ARTIFACTS if "custom" in artifact)
"""The image whose inputs are made first."""
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
TAG = "v1-dirty"


def with_profile(name: str | None) -> dict[str, Any]:
    """As skaffold does it: a profile's builder (`local`) and its `helm`, hooks and all, stand in place of the
    config's own, and so does a list; what is nested is not merged. Then come the patches."""
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
            where = int(last) if isinstance(place, list) else last
            if patch["op"] == "remove":
                del place[where]
            else:
                assert patch["op"] == "add" or (patch["op"] == "replace" and place[where])
                place[where] = patch["value"]
    return config


def filled(value: str, artifacts: list[dict[str, Any]]) -> str:
    """A template of skaffold's as it fills it for a local build."""
    for artifact in artifacts:
        name = artifact["image"].replace("/", "_").replace("-", "_")
        value = value.replace(f"{{{{.IMAGE_REPO_{name}}}}}", artifact["image"])
        value = value.replace(f"{{{{.IMAGE_TAG_{name}}}}}", TAG)
    assert "{{" not in value, "an image that is not built"
    return value


def tracked(path: str) -> bool:
    """Whether a fresh clone has something there: a file, a folder or a pattern."""
    done = subprocess.run(
        ["git", "ls-files", "--", f":(glob){path}", f":(glob){path}/**"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return bool(done.stdout)


def helm_flags(config: dict[str, Any]) -> list[str]:
    (release,) = config["deploy"]["helm"]["releases"]
    flags = [flag for file in release.get("valuesFiles", []) for flag in ("--values", str(ROOT / file))]
    given = {**release.get("setValues", {}), **release.get("setValueTemplates", {})}
    for name, value in given.items():
        text = (
            str(value).lower()
            if isinstance(value, bool)
            else filled(str(value), config["build"]["artifacts"])
        )
        flags += ["--set", f"{name}={text}"]
    return flags


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_config_is_of_one_schema(config: dict[str, Any]) -> None:
    assert config["apiVersion"] == "skaffold/v4beta13"
    assert config["kind"] == "Config"


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact["image"])
def test_what_an_image_is_made_of_is_in_a_fresh_clone(artifact: dict[str, Any]) -> None:
    """skaffold lists it before any hook runs, and runs no hook where the image is in its cache."""
    if "docker" in artifact:
        listed = copied(instructions(ROOT / artifact["docker"]["dockerfile"]))
    else:
        listed = set(artifact["custom"]["dependencies"]["paths"])
    assert listed
    assert [path for path in listed if not tracked(path)] == []
    assert [
        rule["src"] for rule in artifact.get("sync", {}).get("manual", []) if not tracked(rule["src"])
    ] == []
    assert "hooks" not in artifact


def test_a_changed_recipe_of_a_demo_checkpoint_is_a_new_image() -> None:
    listed = DEMO["custom"]["dependencies"]["paths"]
    watched = {path for pattern in listed for path in ROOT.glob(pattern)}
    for model in demo_models():
        for part in MAKERS:
            folder = ROOT / "predictors" / model / part
            assert not folder.is_dir() or folder in watched


@pytest.mark.parametrize("push", ["true", "false"])
def test_the_demo_image_is_built_after_its_checkpoints_are_made(push: str, tmp_path: Path) -> None:
    """The command as skaffold runs it, with programs that only write down what they are asked."""
    for program in ("make", "docker"):
        file = tmp_path / program
        file.write_text(f'#!/bin/sh\necho {program} "$@" >> {shlex.quote(str(tmp_path))}/asked\n')
        file.chmod(0o755)
    given = {"IMAGE": "registry.example.com/ml/demo:v1", "PUSH_IMAGE": push, "REVISION": "abc"}
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **given}
    subprocess.run(["sh", "-c", DEMO["custom"]["buildCommand"]], check=True, env=environ, cwd=ROOT)
    made, built, *pushed = (tmp_path / "asked").read_text().splitlines()
    assert made == "make demo-image"
    assert "\ndemo-image: " in (ROOT / "Makefile").read_text()
    words = built.split()
    assert words[:2] == ["docker", "build"]
    assert words[-1] == "."
    assert (ROOT / words[words.index("--file") + 1]).is_file()
    assert words[words.index("--tag") + 1] == given["IMAGE"]
    assert {f"VERSION={VERSION}", "REVISION=abc"} <= set(words)
    assert pushed == ([f"docker push {given['IMAGE']}"] if push == "true" else [])


@pytest.mark.parametrize("profile", [None, "gpu"])
def test_an_image_is_told_its_version_and_revision(profile: str | None) -> None:
    """skaffold's templates have its environment as a map; only `index` bears a name that is not there."""
    for artifact in with_profile(profile)["build"]["artifacts"]:
        if "docker" in artifact:
            given = artifact["docker"]["buildArgs"]
            assert given["VERSION"] == VERSION
            assert given["REVISION"] == '{{ index . "REVISION" | default "unknown" }}'


@pytest.mark.parametrize("artifact", BUILT, ids=lambda artifact: artifact["image"])
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


def test_a_model_s_image_is_built_as_its_dockerfile_says() -> None:
    artifacts = {a["image"]: a.get("docker") for a in with_profile("gpu")["build"]["artifacts"]}
    cuda = artifacts["quintet/text-evaluator-cuda"]
    assert cuda["buildArgs"].items() >= {"LOCK": "text-evaluator-cuda", "PACKAGES": "gcc libc6-dev"}.items()
    head = (ROOT / cuda["dockerfile"]).read_text().partition("\nARG ")[0]
    assert '--build-arg LOCK=text-evaluator-cuda --build-arg PACKAGES="gcc libc6-dev"' in head


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
    (release,) = config["deploy"]["helm"]["releases"]
    assert not any("/ci/" in file for file in release["valuesFiles"]), "those are the tests'"
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
    hooks = [h for c in CONFIGS.values() for d in c["deploy"].values() for h in d["hooks"]["before"]]
    assert hooks
    for hook in hooks:
        program, target = hook["host"]["command"]
        assert program == "make"
        assert f"\n{target}: " in makefile


def test_kserve_comes_first_and_can_be_left_out() -> None:
    """skaffold takes the configs of its file in order; with -m, those named and what they require."""
    assert list(CONFIGS) == ["kserve", "quintet"]
    assert all("requires" not in config for config in CONFIGS.values())


@pytest.mark.parametrize(
    "file", ["skaffold.yaml", "docs/how-to/kind-and-minikube.md", "docs/how-to/gpu-nodes.md"]
)
def test_commands_that_are_said_name_what_is_there(file: str) -> None:
    said = re.findall(r"skaffold (?:dev|run)\b.*", (ROOT / file).read_text())
    assert said
    for command in said:
        words = command.split()
        for module in (words[i + 1] for i, word in enumerate(words) if word == "-m"):
            assert module in CONFIGS
        if "-p" in words:
            assert words[words.index("-p") + 1] in {profile["name"] for profile in MAIN["profiles"]}
            assert "--default-repo" in words, "quintet/... would be pushed to a public hub"


def test_the_chart_s_path_is_right() -> None:
    (release,) = MAIN["deploy"]["helm"]["releases"]
    assert (ROOT / release["chartPath"]).samefile(CHART)
