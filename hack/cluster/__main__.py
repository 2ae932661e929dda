"""``python -m hack.cluster up|down|kserve|secret|testable``; see the Makefile."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable

import yaml

from hack.cluster import addons, certificates, images, kind, node, programs
from hack.cluster.kube import Kube, KubeFailed, until
from hack.cluster.leftovers import leftovers
from hack.cluster.places import KUBECONFIG, REGISTRY_HOST, RUN
from hack.demo_image.__main__ import collect
from hack.demo_models import DemoFailed
from hack.helm import folder as helm_folder
from hack.system import MissingPart, provide, sentence

CHART = images.ROOT / "charts" / "quintet"
KSERVE_IMAGE = f"kserve/kserve-controller:{programs.KSERVE}"
"""KServe's own, for clusters that reach a registry."""
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
    if kind.available():
        _on_kind(models, with_addons)
    else:
        _on_our_own(models, with_addons)
    say(f"the cluster is up: export KUBECONFIG={KUBECONFIG} PATH={helm_folder()}:$PATH")


def _on_our_own(models: list[str], with_addons: list[str]) -> None:
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


def _on_kind(models: list[str], with_addons: list[str]) -> None:
    """kind has DNS of its own, and fake nodes are for the tests, which do not run there."""
    if models:
        collect()
    kind.up(images.ours(_version(), models) if models else [], say)
    kube = Kube()
    if "metrics_server" in with_addons:
        addons.metrics_server(kube, kind.metrics_server(say), signed_kubelets=False)
        say("metrics_server is ready")
    if "kserve" in with_addons:
        addons.kserve(kube, KSERVE_IMAGE)
        say("kserve is ready")


def down() -> int:
    left: list[str] = []
    if kind.available():
        kind.down()
    else:
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


def testable() -> int:
    """Whether a cluster of this machine is one that tests/cluster can be run on."""
    if kind.available():
        print(f"error: {kind.NO_TESTS}", file=sys.stderr)
        return 1
    return 0


def _registry_answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://{REGISTRY_HOST}/v2/", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.cluster", description=__doc__)
    parser.add_argument("what", choices=("up", "down", "kserve", "secret", "testable"))
    parser.add_argument("--models", help="those to build images of, with commas; default: the chart's")
    parser.add_argument("--addons", default=",".join(ADDONS), help="of %(default)s")
    given = parser.parse_args(arguments)
    models = chart_models() if given.models is None else [m for m in given.models.split(",") if m]
    actions: dict[str, Callable[[], int | None]] = {
        "up": lambda: up(models, [a for a in given.addons.split(",") if a]),
        "down": down,
        "kserve": lambda: addons.kserve(Kube(None), KSERVE_IMAGE),
        "secret": lambda: addons.secret(Kube(None)),
        "testable": testable,
    }
    failures = (
        *(KubeFailed, MissingPart, DemoFailed, images.ImageFailed),
        *(kind.KindFailed, node.NodeFailed, programs.ProgramFailed),
    )
    try:
        return actions[given.what]() or 0
    except failures as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
