"""``python -m hack.environments MODEL``: the Python that serves a model, its environment made first.

Most models run in the environment of development. One whose lock holds packages that development's does not
(an inference engine of gigabytes, other pins) has one of its own, outside the clone, named for its lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from hack.lock import ALL, ROOT, pins

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


class EnvironmentFailed(Exception):
    """An environment could not be made; one sentence. uv's own words are on stderr."""


def needs_own(model: str, root: Path = ROOT) -> bool:
    """Whether the model's lock holds what the lock of development does not."""
    lock = _lock(model, root)
    return lock.exists() and not _held(lock) <= _held(root / "requirements" / f"{ALL}.txt")


def folder(model: str, root: Path = ROOT) -> Path:
    """Where the model's own environment belongs, made or not."""
    cache = Path(os.environ.get("QUINTET_CACHE") or Path.home() / ".cache" / "quintet").expanduser()
    digest = hashlib.sha256(_lock(model, root).read_bytes()).hexdigest()[:12]
    return cache.absolute() / "env" / f"{model}-{digest}"


def python(model: str, root: Path = ROOT) -> Path:
    """The interpreter for ``python -m predictors.MODEL``. Raises EnvironmentFailed."""
    if not needs_own(model, root):
        return Path(sys.executable)
    made = folder(model, root)
    interpreter, stamp = made / "bin" / "python", made / ".complete"
    if not stamp.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with (made.parent / f".{made.name}.making").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not stamp.exists():  # made by someone else while this process waited
                _make(model, made, _lock(model, root))
                stamp.touch()
    return interpreter


def _make(model: str, made: Path, lock: Path) -> None:
    sys.stderr.write(f"{model}: making its environment in {made} (once; minutes where nothing is cached)\n")
    shutil.rmtree(made, ignore_errors=True)  # what a killed run left
    environ = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_TIMEOUT": "180"}
    if BUNDLE.is_file():  # it may hold a company's own root
        environ.setdefault("UV_SYSTEM_CERTS", "1")
    uv = str(Path(sys.executable).with_name("uv"))
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(made)],
        ["pip", "sync", "--quiet", "--require-hashes", "--python", str(made / "bin" / "python"), str(lock)],
    ):
        # All its words go to stderr: this command's own output is the interpreter, for scripts to read.
        if subprocess.run([uv, *arguments], env=environ, stdout=2, check=False).returncode:
            shutil.rmtree(made, ignore_errors=True)
            raise EnvironmentFailed(f"The environment of {model} was not made.")


def _lock(model: str, root: Path) -> Path:
    return root / "requirements" / f"{model.replace('_', '-')}.txt"


def _held(lock: Path) -> set[tuple[str, str]]:
    return {(pin.name, pin.version) for pin in pins(lock.read_text())}


def main() -> int:
    try:
        for model in sys.argv[1:]:
            print(python(model), flush=True)
    except EnvironmentFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
