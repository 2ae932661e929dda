"""``python -m hack.triton [FOLDER]``: Triton Inference Server on a plain machine, beside this Python.

The package nvidia-pytriton carries the server, its Python backend and a stub a Python version. They and the
numpy that this backend was built for stand in FOLDER, by default in the cache; hack/triton.txt pins both.
The script ``tritonserver`` in the environment's bin folder starts them. Set-up and the image's build run it;
a second run costs nothing.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from hack.system import cache_folder

PINS = Path(__file__).with_name("triton.txt")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBPYTHON = f"libpython{VERSION}.so.1.0"

SCRIPT = """#!/bin/sh
# Written by hack/triton.py.
export LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
export PYTHONPATH="{folder}/python${{PYTHONPATH:+:$PYTHONPATH}}"
exec "{folder}/server/bin/tritonserver" --backend-directory="{folder}/backends" "$@"
"""


EXIT_MISSING, EXIT_LIBPYTHON = 1, 3


class Missing(Exception):
    """Something this machine lacks, by name, and what helps."""

    code = EXIT_MISSING


class NoLibpython(Missing):
    code = EXIT_LIBPYTHON


def cached() -> Path:
    """The cache's folder for these pins and this Python."""
    digest = hashlib.sha256(PINS.read_bytes() + VERSION.encode()).hexdigest()[:12]
    return cache_folder().expanduser().absolute() / f"triton-{digest}"


def install(scripts: Path, folder: Path) -> Path:
    """The script ``tritonserver`` in ``scripts``, what it starts in ``folder``. Raises Missing."""
    library = _libpython()
    if not (folder / "server").is_dir():
        _unpack(folder)
    libraries = os.pathsep.join(filter(None, [f"{folder}/libraries", library]))
    script = scripts / "tritonserver"
    part = script.with_suffix(".part")
    part.write_text(SCRIPT.format(libraries=libraries, folder=folder))
    part.chmod(0o755)
    part.replace(script)
    return script


def _unpack(folder: Path) -> None:
    """The folder appears complete or not at all."""
    print(f"setup: installing Triton Inference Server into {folder}", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".triton-") as scratch:
        whole = Path(scratch) / "whole"
        command = [
            *(_uv(), "pip", "install", "-q", "--no-deps"),
            *("--require-hashes", "--python", sys.executable, "--target", str(whole), "-r", str(PINS)),
        ]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"Triton's package was not installed: {done.stderr.strip()}")
        made, server = Path(scratch) / "made", whole / "pytriton" / "tritonserver"
        backend = made / "backends" / "python"
        shutil.copytree(server / "backends" / "python", backend)
        stub = server / "python_backend_stubs" / VERSION / "triton_python_backend_stub"
        if not stub.exists():
            raise Missing(f"Triton's package has no stub for Python {VERSION}")
        shutil.copy2(stub, backend)
        (server / "bin").rename(made / "bin")
        (made / "server").mkdir()
        (made / "bin").rename(made / "server" / "bin")
        (whole / "nvidia_pytriton.libs").rename(made / "libraries")
        (made / "python").mkdir()
        for part in ("numpy", "numpy.libs"):
            (whole / part).rename(made / "python" / part)
        try:
            made.rename(folder)
        except OSError:
            if not (folder / "server").is_dir():  # not made by someone else meanwhile
                raise


def _uv() -> str:
    """The one beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name("uv")
    return os.fspath(beside) if beside.exists() else "uv"


def _libpython() -> str:
    """The folder with the shared libpython that the stub is linked to; empty where the system finds it."""
    for place in (sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix) / "lib"):
        if place and (Path(place) / LIBPYTHON).exists():
            return str(place)
    try:
        ctypes.CDLL(LIBPYTHON)
    except OSError:
        raise NoLibpython(
            f"{LIBPYTHON} is not on this machine, which Triton's Python backend needs;"
            f" install with: sudo apt-get install -y --no-install-recommends libpython{VERSION}"
        ) from None
    return ""


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]).absolute() if arguments else cached()
    try:
        install(Path(sys.executable).parent, folder)
    except Missing as missing:
        print(f"setup: {missing}", file=sys.stderr)
        return missing.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
