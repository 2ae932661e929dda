"""A real MLflow server for tests, in an environment of its own, with a database and a folder of files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from hack import environments
from tests.support.servers import free_port

STARTING = 120
"""Seconds; it makes its tables first."""


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address. What is logged goes to ``folder``."""
    python, port = environments.python("mlflow-server"), free_port()
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder}/runs.db",
        "--artifacts-destination",
        f"{folder}/files",
    ]
    log = folder / "server.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(python), "-m", "mlflow", "server", *place, *stores],
            cwd=folder,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its workers end with it
        )
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + STARTING
        while not _healthy(url):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.2)  # it says nothing that could be awaited
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
