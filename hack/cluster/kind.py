"""The cluster where Docker runs: kind's node, with our images, and what kind does not bring."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Collection, Iterable

from hack.cluster import images, programs
from hack.cluster.places import KUBECONFIG

NAME = "quintet"
METRICS_SERVER = "quintet-cluster/metrics-server:v0.9.0"
NO_TESTS = (
    "make e2e reaches into its node (containerd, the firewall, a registry), which kind's does not allow: "
    "run it where there is no Docker, or hide kind from PATH, and it builds a cluster of its own"
)


class KindFailed(Exception):
    """kind or Docker said no; the message says which and what."""


def available() -> bool:
    """kind needs a Docker that runs."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def cluster(there: Collection[str]) -> list[str]:
    """The command that makes it, or that only writes its kubeconfig where it is among those ``there``."""
    what = ["export", "kubeconfig"] if NAME in there else ["create", "cluster"]
    return ["kind", *what, "--name", NAME, "--kubeconfig", str(KUBECONFIG)]


def image(given: images.Image, commit: str) -> list[list[str]]:
    """The commands that build it and bring it to the node."""
    made = ["docker", "build", "--file", str(given.dockerfile), "--tag", given.name]
    return [[*made, *images.told(given, commit), str(images.ROOT)], _load(given.name)]


def up(built: Iterable[images.Image], say: Callable[[str], None]) -> None:
    KUBECONFIG.parent.mkdir(parents=True, exist_ok=True)
    _run(cluster(_run(["kind", "get", "clusters"]).split()))
    commit = images.revision()
    for one in built:
        say(f"building {one.name}")
        for command in image(one, commit):
            _run(command)


def metrics_server(say: Callable[[str], None]) -> str:
    """Its image in the node, compiled here; the name. Without metrics-server no autoscaler by CPU works."""
    programs.build(say, ["metrics-server"])
    with images.static_context(METRICS_SERVER, programs.binary("metrics-server")) as folder:
        _run(["docker", "build", "--tag", METRICS_SERVER, str(folder)])
    _run(_load(METRICS_SERVER))
    return METRICS_SERVER


def down() -> None:
    _run(["kind", "delete", "cluster", "--name", NAME, "--kubeconfig", str(KUBECONFIG)])


def _load(name: str) -> list[str]:
    return ["kind", "load", "docker-image", name, "--name", NAME]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KindFailed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
