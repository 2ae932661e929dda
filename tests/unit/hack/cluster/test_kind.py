"""`make cluster` where Docker runs. kind and Docker are programs here that write down what they are asked."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hack import helm
from hack.cluster import addons, images, kind

ROOT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Desk:
    """A machine with Docker and kind, and an empty cache."""

    folder: Path
    clusters: str = ""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        programs = self.folder / "programs"
        programs.mkdir(exist_ok=True)
        says = {"docker": "", "kind": f'[ "$1 $2" = "get clusters" ] && echo {self.clusters}\n'}
        for program, more in says.items():
            text = (
                f'#!/bin/sh\necho {program} "$@" >> {shlex.quote(str(self.folder / "asked"))}\n{more}exit 0\n'
            )
            (programs / program).write_text(text)
            (programs / program).chmod(0o755)
        cache = self.folder / "cache"
        cache.mkdir(exist_ok=True)
        here = cache / helm.folder().name
        if not here.exists():
            here.symlink_to(helm.folder())
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("E2E_", "PYTEST_"))}
        environ |= {"PATH": f"{programs}:{os.environ['PATH']}", "QUINTET_CACHE": str(cache)}
        return subprocess.run(
            [sys.executable, "-m", *command],
            env=environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "cache" / "cluster" / "kubeconfig"


def test_a_cluster_is_made_and_its_kubeconfig_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    done = desk.run("hack.cluster", "up", "--models", "", "--addons", "")
    assert done.returncode == 0, done.stderr
    create = f"kind create cluster --name quintet --kubeconfig {desk.kubeconfig}"
    assert desk.asked == ["docker info", "kind get clusters", create]
    assert f"export KUBECONFIG={desk.kubeconfig} PATH=" in done.stderr


def test_a_cluster_that_is_there_stays(tmp_path: Path) -> None:
    desk = Desk(tmp_path, clusters="other quintet")
    done = desk.run("hack.cluster", "up", "--models", "", "--addons", "")
    assert done.returncode == 0, done.stderr
    assert desk.asked[-1] == f"kind export kubeconfig --name quintet --kubeconfig {desk.kubeconfig}"


def test_its_end_takes_what_was_kept_of_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    certificate = desk.kubeconfig.parent / "run" / "pki" / "ca.crt"
    certificate.parent.mkdir(parents=True)
    certificate.touch()
    done = desk.run("hack.cluster", "down")
    assert done.returncode == 0, done.stderr
    assert desk.asked[-1] == f"kind delete cluster --name quintet --kubeconfig {desk.kubeconfig}"
    assert not certificate.exists(), "the next cluster has an authority of its own"


@pytest.mark.parametrize(
    "command", [["hack.cluster", "testable"], ["pytest", "tests/cluster/test_1_refused.py"]]
)
def test_the_tests_of_the_cluster_say_that_they_cannot_run_on_it(command: list[str], tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    done = desk.run(*command)
    assert done.returncode == 1
    assert kind.NO_TESTS in done.stdout + done.stderr
    assert set(desk.asked) == {"docker info"}, "nothing was begun"


def test_an_image_is_built_and_brought_to_the_node() -> None:
    given = images.Image("quintet/gpt2:1.2.3", images.ROOT / "predictors/gpt2/Dockerfile")
    build, load = kind.image(given, "abc")
    assert build[:2] == ["docker", "build"]
    assert build[-1] == str(images.ROOT)
    assert build[build.index("--file") + 1] == str(given.dockerfile)
    assert build[build.index("--tag") + 1] == given.name
    assert {"VERSION=1.2.3", "REVISION=abc"} <= set(build)
    assert load == ["kind", "load", "docker-image", given.name, "--name", "quintet"]


def test_metrics_server_believes_kubelets_whose_certificates_the_cluster_signed_and_kind_s_as_they_are() -> (
    None
):
    given = ["--cert-dir=/tmp", "--secure-port=10250"]
    tls = ["--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key"]
    own, foreign = (addons.metrics_arguments(given, signed) for signed in (True, False))
    assert own == ["--secure-port=10250", *tls, "--kubelet-certificate-authority=/authority/ca.crt"]
    assert foreign == ["--secure-port=10250", *tls, "--kubelet-insecure-tls"]
