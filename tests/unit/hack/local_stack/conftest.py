"""A clone in miniature: fake predictors and a fake gateway as real processes, under the real local stack."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[4]
FAKES = Path(__file__).parent / "fakes"


class Clone:
    """The folder the stack runs in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        names = ("gateway", "admin", "portal", "alpha", "alpha-grpc", "beta", "beta-grpc")
        self.ports: dict[str, int] = dict(zip(names, free_ports(len(names)), strict=True))
        self._copy("gateway.py", "gateway/__main__.py")
        self._copy("demo_models.py", "hack/demo_models.py")
        for model in ("alpha", "beta"):
            self._copy("predictor.py", f"predictors/{model}/__main__.py")
            body = {"prompts": ["It's a test."]}
            examples = {"domain": {"path": f"/{model}", "body": body}, "v1": {"body": {}}, "v2": {"body": {}}}
            (root / "predictors" / model / "examples.json").write_text(json.dumps(examples))
        self._write_config()

    def _copy(self, fake: str, to: str) -> None:
        target = self.root / to
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in (target.parent, *target.parent.parents):
            if folder == self.root:
                break
            (folder / "__init__.py").touch()
        shutil.copyfile(FAKES / fake, target)

    def _write_config(self) -> None:
        models = {
            model: {
                "upstream": {
                    "host": "127.0.0.1",
                    "http_port": self.ports[model],
                    "grpc_port": self.ports[f"{model}-grpc"],
                }
            }
            for model in ("alpha", "beta")
        }
        keys = {"secret_files": ["../.local/jwt-secret"]}
        config = {
            "listen": {"port": self.ports["gateway"]},
            "admin": {"port": self.ports["admin"]},
            "portal": {"port": self.ports["portal"]},
            "issuers": [{"name": "local", "issuer": "here", "audiences": ["us"], "keys": keys}],
            "models": models,
        }
        (self.root / "gateway" / "local.yaml").write_text(yaml.safe_dump(config))

    @property
    def trace(self) -> list[str]:
        """What the children said of their lives, in order."""
        file = self.root / "trace"
        return file.read_text().splitlines() if file.exists() else []

    def pids(self, name: str = "") -> list[int]:
        return [int(line.split()[2]) for line in self.trace if re.match(rf"{name}.* started", line)]

    def settings(self, model: str) -> dict[str, str]:
        return json.loads((self.root / f"settings-{model}").read_text())

    def assert_nothing_left(self) -> None:
        assert [pid for pid in self.pids() if alive(pid)] == []
        for port in self.ports.values():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        assert list(self.root.rglob("*.part")) == []


class Run:
    """One ``make run``; a terminal's Ctrl-C is a signal to its whole process group."""

    def __init__(self, clone: Clone, *models: str, **environ: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("QUINTET_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hack.local_stack", "--root", str(clone.root), *models],
            cwd=REPOSITORY,
            env={**clean, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def wait_for(self, text: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if text in line:
                return
        raise AssertionError(f"it ended without saying {text!r}; it said:\n{self.said}")

    def ready(self) -> Run:
        self.wait_for("Ready after")
        return self

    def ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard output, and all of standard error."""
        output, rest = self.process.communicate(timeout=30)
        self.said += rest
        return self.process.returncode, output, self.said


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture
def start(clone: Clone) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*models: str, **environ: str) -> Run:
        runs.append(Run(clone, *models, **environ))
        return runs[-1]

    yield start
    for run in runs:  # of a test that failed half way
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()
    for pid in clone.pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
