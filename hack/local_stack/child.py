"""One process of the stack: its start, its end, its log, and that it never outlives us."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1

_ASKED = re.compile(r'"route": ?"/(v2/health/ready|health/detailed)"')
"""A predictor's log of our own questions, which would push out what a person wants to read."""


@dataclass(frozen=True)
class Command:
    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path
    log: Path
    grace: float = 10.0
    """Seconds it may take to end when it is asked to."""
    stop_signal: signal.Signals = signal.SIGTERM
    capture: bool = False
    """Standard output is an answer to be read, not part of the log."""


class Child:
    def __init__(self, command: Command) -> None:
        self.command = command
        with command.log.open("wb") as log:
            # A session of its own, so that the terminal's Ctrl-C reaches only us and we end all in order.
            self._process = subprocess.Popen(
                command.arguments,
                env=command.environ,
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if command.capture else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_ended_with(os.getpid(), command.stop_signal),
            )
        self._exited = asyncio.Event()
        loop, watched = asyncio.get_running_loop(), os.pidfd_open(self._process.pid)

        def reap() -> None:
            loop.remove_reader(watched)
            os.close(watched)
            self._process.wait()
            self._exited.set()

        loop.add_reader(watched, reap)

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def running(self) -> bool:
        return not self._exited.is_set()

    async def exited(self, within: float | None = None) -> int | None:
        """The exit code, negative for a signal; None when it still runs after ``within`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._exited.wait()
        return self._process.returncode

    async def output(self) -> str:
        """All of its standard output, once it has ended."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            return (await asyncio.to_thread(stream.read)).decode()

    async def stop(self, *, at_once: asyncio.Event) -> None:
        """Its signal, its grace, SIGKILL; what it left behind in its process group goes with it."""
        if self.running:
            self._process.send_signal(self.command.stop_signal)
            waits = [asyncio.create_task(self._exited.wait()), asyncio.create_task(at_once.wait())]
            await asyncio.wait(waits, timeout=self.command.grace, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._exited.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def last_lines(log: Path, count: int = 15, width: int = 400) -> list[str]:
    """The end of a log, without reading all of a long one."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 256 * 1024))
        lines = [
            line for line in file.read().decode(errors="replace").splitlines() if not _ASKED.search(line)
        ]
    lines = lines[-count:]
    return [line if len(line) <= width else f"{line[:width]} ..." for line in lines]


def last_error(log: Path) -> str | None:
    """The message of the last line at ERROR or above, where the log is JSON lines."""
    for line in reversed(last_lines(log, count=200, width=100_000)):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in {"ERROR", "CRITICAL"} and entry.get("message"):
            return str(entry["message"])
    return None


def _ended_with(parent: int, stop_signal: signal.Signals) -> Callable[[], None]:
    """Even when we are killed without a word, the kernel asks the child to end."""
    libc = ctypes.CDLL(None, use_errno=True)

    def in_child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job would inherit "ignored"
        libc.prctl(_PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:  # we died in between
            os._exit(1)

    return in_child
