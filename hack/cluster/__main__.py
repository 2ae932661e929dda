"""``python -m hack.cluster up|down|kserve|secret``; see the Makefile."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable

import yaml

from hack.cluster import addons, certificates, images, node, programs
from hack.cluster.kube import Kube, KubeFailed, until
from hack.cluster.leftovers import leftovers
from hack.cluster.places import KUBECONFIG, REGISTRY_HOST, RUN
from hack.demo_image.__main__ import collect
from hack.helm import folder as helm_folder
from hack.system import MissingPart, provide, sentence

CHART = images.ROOT / "charts" / "quintet"
KIND = "quintet"
ADDONS = {
    "coredns": "coredns",
    "metrics_server": "metrics-server",
    "kwok": "kwok",
    "kserve": "kserve-manager",
}
"""Each with its program."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def up(models: list[str], with_addons: list[str]) -> None:
    """Idempotent: what is there stays, what is missing is added."""
    if _docker():
        return _kind(models)
    if missing := provide("cluster"):
        raise MissingPart(sentence(missing))
    kubernetes = [program.name for program in programs.PROGRAMS if program.wrapper == "kubernetes"]
    programs.build(say, [*kubernetes, *(ADDONS[name] for name in with_addons)])
    certificates.write_all()
    node.start()
    kube = Kube()
    until(_registry_answers, 60, "the registry answers")
    images.push_system(say)
    until(lambda: kube.answers("get", "--raw", "/readyz"), 180, "the API server is ready")
    say("the API server is ready")
    for name in with_addons:
        getattr(addons, name)(kube)
        say(f"{name} is ready")
    if models:
        collect()
        images.push_ours(images.ours(_version(), models), say)
    say(f"the cluster is up: export KUBECONFIG={KUBECONFIG} PATH={helm_folder()}:$PATH")


def down() -> int:
    if _docker():
        subprocess.run(["kind", "delete", "cluster", "--name", KIND], check=True)
        return 0
    node.stop()
    images.unmount()
    left = leftovers()
    for what in left:
        say(f"left: {what}")
    shutil.rmtree(RUN, ignore_errors=True)
    KUBECONFIG.unlink(missing_ok=True)
    return 1 if left else 0


def chart_models() -> list[str]:
    """Those that the chart enables as it comes."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return [name for name, entry in values["models"].items() if entry.get("enabled", True)]


def _version() -> str:
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])


def _docker() -> bool:
    """Whether kind can be used: it needs a Docker that runs."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def _kind(models: list[str]) -> None:
    there = subprocess.run(
        ["kind", "get", "clusters"], capture_output=True, text=True, check=True
    ).stdout.split()
    if KIND not in there:
        subprocess.run(
            ["kind", "create", "cluster", "--name", KIND, "--kubeconfig", str(KUBECONFIG)], check=True
        )
    collect()
    for image in images.ours(_version(), models):
        command = ["docker", "build", "--file", str(image.dockerfile), "--tag", image.name, str(images.ROOT)]
        subprocess.run(command, check=True)
        subprocess.run(["kind", "load", "docker-image", image.name, "--name", KIND], check=True)
    addons.kserve(Kube(), image=f"kserve/kserve-controller:{programs.KSERVE}")


def _registry_answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://{REGISTRY_HOST}/v2/", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.cluster", description=__doc__)
    parser.add_argument("what", choices=("up", "down", "kserve", "secret"))
    parser.add_argument("--models", help="those to build images of, with commas; default: the chart's")
    parser.add_argument("--addons", default=",".join(ADDONS), help="of %(default)s")
    given = parser.parse_args(arguments)
    models = chart_models() if given.models is None else [m for m in given.models.split(",") if m]
    actions: dict[str, Callable[[], int | None]] = {
        "up": lambda: up(models, [a for a in given.addons.split(",") if a]),
        "down": down,
        "kserve": lambda: addons.kserve(Kube(None), image=f"kserve/kserve-controller:{programs.KSERVE}"),
        "secret": lambda: addons.secret(Kube(None)),
    }
    failures = (KubeFailed, MissingPart, images.ImageFailed, node.NodeFailed, programs.ProgramFailed)
    try:
        return actions[given.what]() or 0
    except failures as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
