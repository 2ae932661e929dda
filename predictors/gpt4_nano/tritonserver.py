"""Triton as a process of ours, where nobody else runs one: found, started, kept running, ended."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from predictors.runtime.errors import LoadError

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_RESTART_SECONDS = 1.0
_ENDING_SECONDS = 8.0


@dataclass(frozen=True)
class Ports:
    http: int
    grpc: int
    metrics: int


def find_program() -> str:
    """``tritonserver`` on PATH, or beside the Python that runs this. Raises LoadError."""
    beside = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    found = shutil.which("tritonserver", path=beside)
    if found is None:
        raise LoadError(
            "There is no program tritonserver on PATH or beside Python (make setup installs it);"
            " QUINTET_TRITON_URL names a server that runs elsewhere."
        )
    return found


def command(program: str, repository: Path, host: str, ports: Ports) -> list[str]:
    return [
        program,
        f"--model-repository={repository}",
        f"--http-address={host}",
        f"--http-port={ports.http}",
        f"--grpc-address={host}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={host}",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        # Whoever may load models may run code.
        "--model-control-mode=none",
        "--exit-timeout-secs=5",
    ]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Models find this project and the libraries of the Python that runs it, settings included."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [
        root,
        *dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")),
        environ.get("PYTHONPATH", ""),
    ]
    # One thread a library call: as many instances as cores share the machine.
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {
        **threads,
        **environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


@dataclass
class TritonProcess:
    """Runs Triton until stop(); starts it again when it ends by itself."""

    repository: Path
    host: str
    ports: Ports
    failed: str | None = None
    """Why it ended before it had ever been ready."""
    _process: subprocess.Popen[str] | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _was_ready: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises LoadError when there is no program to start."""
        program = find_program()
        # A thread that lives as long as the child: the kernel ends the child with the thread that made it.
        self._thread = threading.Thread(target=self._keep, args=(program,), name="triton", daemon=True)
        self._thread.start()

    def ready(self) -> None:
        """It has been ready once: from now on it is started again when it ends."""
        self._was_ready = True

    def stop(self) -> None:
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        if self._thread is not None:
            self._thread.join(_ENDING_SECONDS)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _keep(self, program: str) -> None:
        while not self._stopping.is_set():
            code, last = self._run(program)
            if self._stopping.is_set():
                return
            if not self._was_ready:
                self.failed = f"Triton ended with code {code}: {last}"
                return
            logger.error("Triton ended with code %d and is started again.", code)
            self._stopping.wait(_RESTART_SECONDS)

    def _run(self, program: str) -> tuple[int, str]:
        """To its end; returns its code and the last error it told."""
        self._process = process = subprocess.Popen(
            [*_ending_with_this_process(), *command(program, self.repository, self.host, self.ports)],
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        lines = _Lines(process.stderr)
        code = process.wait()
        # Its stubs hold the pipe open, and may outlive it for a while.
        end_group(process.pid)
        lines.join(_ENDING_SECONDS)
        return code, lines.last


class _Lines(threading.Thread):
    """What Triton tells, into the log; ``last`` is the last error."""

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__(name="triton-log", daemon=True)
        assert stream is not None
        self.last = "it said nothing"
        self._stream = stream
        self.start()

    def run(self) -> None:
        with self._stream:
            for line in self._stream:
                text = line.split("]", 1)[-1].strip().strip('"')[:500]
                # Triton looks for a GPU's driver; on CPU there is none.
                if line[:1] in {"E", "F"} and "]" in line and "CudaDriverHelper" not in line:
                    self.last = text
                    logger.error("Triton: %s", text)
                elif line[:1] == "W" and "]" in line:
                    logger.warning("Triton: %s", text)
                else:
                    logger.debug("Triton: %s", line.rstrip()[:500])


def end_group(leader: int) -> None:
    """What is left of a Triton that has ended: its stubs."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


_LAUNCHER = f"""\
import ctypes, os, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGTERM)})
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def _ending_with_this_process() -> list[str]:
    """What a command begins with that is to get SIGTERM when the thread that starts it ends.

    A program of its own sets it: Python code between fork and exec crashes where gRPC has its threads.
    """
    return [sys.executable, "-ESs", "-c", _LAUNCHER, str(os.getpid())]


def check_repository(folder: Path, models: Sequence[str]) -> None:
    """Raises LoadError for a folder that is not a repository of these models."""
    for model in models:
        file = folder / model / "config.pbtxt"
        with contextlib.suppress(OSError):
            if file.is_file():
                continue
        raise LoadError(f"{file} is missing: {folder} is not gpt4_nano's model repository.")
