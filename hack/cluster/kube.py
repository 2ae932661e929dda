"""kubectl, as scripts and tests use it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.places import KUBECONFIG
from hack.helm import folder

Object = dict[str, Any]


class KubeFailed(Exception):
    """kubectl said no, or something did not come about in time; the message says what."""


class Kube:
    """``kubeconfig`` None: whatever cluster kubectl is set to."""

    def __init__(self, kubeconfig: Path | None = KUBECONFIG) -> None:
        programs = str(folder())
        self.environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        if kubeconfig is not None:
            self.environ["KUBECONFIG"] = str(kubeconfig)

    def run(
        self,
        program: str,
        *arguments: str,
        given: str | None = None,
        check: bool = True,
        seconds: float = 600,
    ) -> str:
        done = subprocess.run(
            [program, *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            env=self.environ,
            timeout=seconds,
        )
        if check and done.returncode:
            raise KubeFailed(f"{program} {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        return self.run("kubectl", *arguments, given=given, check=check)

    def get(self, *arguments: str) -> Object:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, objects: Iterable[Object]) -> None:
        text = yaml.dump_all(list(objects), Dumper=yaml.CSafeDumper, sort_keys=False)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=text)

    def answers(self, *arguments: str, given: str | None = None) -> bool:
        try:
            self.kubectl(*arguments, given=given)
        except KubeFailed:
            return False
        return True

    def rollout(self, namespace: str, what: str, seconds: int = 180) -> None:
        self.kubectl("-n", namespace, "rollout", "status", what, f"--timeout={seconds}s")


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """For what cannot be waited for with an event."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise KubeFailed(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)
