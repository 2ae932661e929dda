"""A real Triton Inference Server for tests: on free ports, awaited, ended by its id."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import unittest
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hack.system import in_ci
from predictors.gpt4_nano import tritonserver
from predictors.runtime.errors import LoadError
from tests.support.servers import ROOT, free_port

REPOSITORY = ROOT / "predictors" / "gpt4_nano" / "model_repository"
START_SECONDS = 240.0


@dataclass
class Triton:
    log: Path
    repository: Path = REPOSITORY
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tritonserver.Ports = field(
        default_factory=lambda: tritonserver.Ports(free_port(), free_port(), free_port())
    )
    process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.ports.http}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.ports.grpc}"

    def spawn(self) -> subprocess.Popen[bytes]:
        try:
            program = tritonserver.find_program()
        except LoadError as error:
            if in_ci():
                raise
            raise unittest.SkipTest(str(error)) from None
        command = tritonserver.command(program, self.repository, "127.0.0.1", self.ports)
        environ = tritonserver.environment({**os.environ, **self.environment})
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environ, stdout=log, stderr=log, start_new_session=True
            )
        return self.process

    def start(self) -> None:
        """Returns when it is ready."""
        process = self.spawn()
        end = time.monotonic() + START_SECONDS
        while not self.ready():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"Triton did not start: {self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://{self.http}/v2/health/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(30)
            tritonserver.end_group(self.process.pid)
            self.process = None

    def executions(self, model: str = "gpt4_nano") -> tuple[int, int]:
        """Requests answered and calls of the model, so far."""
        stats = self._stats(model)
        return stats["inference_count"], stats["execution_count"]

    def batch_sizes(self, model: str = "gpt4_nano") -> Counter[int]:
        """How often the model was called with so many rows, so far."""
        batches = self._stats(model)["batch_stats"]
        return Counter({batch["batch_size"]: batch["compute_infer"]["count"] for batch in batches})

    def _stats(self, model: str) -> dict[str, Any]:
        answer = httpx.get(f"http://{self.http}/v2/models/{model}/stats", trust_env=False).json()
        (stats,) = answer["model_stats"]
        return stats


@contextlib.contextmanager
def running(log: Path, repository: Path = REPOSITORY, **environment: str) -> Iterator[Triton]:
    triton = Triton(log, repository, environment)
    try:
        triton.start()
        yield triton
    finally:
        triton.stop(kill=True)
