"""Renew the hashed locks under requirements/ from the extras of pyproject.toml (``make lock``).

``dev.txt`` is resolved first and constrains all others, so every image runs the versions that the tests ran.
The locks are for Debian 12 on x86-64 and Python 3.11, whatever machine they are made on; 3.12 takes the same.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_LOCKED = {"runtime"}  # only ever part of an image's extra
ALL = "dev"
WHOLE = {"text-evaluator-cuda"}
"""Of which nothing is left out: [tool.uv] drops what no other image loads of torch's build for CUDA."""

# No header, no addresses: a lock must read the same wherever it was made.
COMPILE = [
    *("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
    *("--no-emit-index-url", "--no-emit-find-links"),
    *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_36"),
]


class LockFailed(Exception):
    """uv could not resolve; ``unsolvable``: pyproject.toml contradicts itself, else the registry is away."""

    def __init__(self, extra: str, stderr: str) -> None:
        super().__init__(f"requirements/{extra}.txt cannot be made: {stderr.strip()}")
        self.unsolvable = "No solution found" in stderr


@dataclass(frozen=True)
class Pin:
    name: str
    version: str
    hashes: int


def locked_extras(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """The extras that have a lock, the one that constrains the others first."""
    extras = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    return [ALL, *sorted(set(extras) - NOT_LOCKED - {ALL})]


def pins(lock: str) -> list[Pin]:
    """What a lock file pins. Every line must be a pin or a hash: anything else is an error."""
    found: list[Pin] = []
    for number, line in enumerate(lock.splitlines(), 1):
        if pin := re.fullmatch(r"([a-z0-9-]+)==([^ ;\\]+)( ;[^\\]+)?( \\)?", line):
            found.append(Pin(pin[1], pin[2], 0))
        elif re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", line) and found:
            found[-1] = Pin(found[-1].name, found[-1].version, found[-1].hashes + 1)
        else:
            raise ValueError(f"line {number} is neither a pin nor a hash: {line!r}")
    return found


def compile_locks(folder: Path, *, upgrade: bool = False) -> list[Path]:
    """Resolve every extra into ``folder``; versions of the present locks are kept unless ``upgrade``."""
    made: list[Path] = []
    for extra in locked_extras():
        target = folder / f"{extra}.txt"
        present = ROOT / "requirements" / target.name
        if present.exists():
            shutil.copyfile(present, target)  # uv prefers the versions it finds in its output file
        command = [_uv(), *COMPILE, "--extra", extra, "--output-file", str(target)]
        if extra in WHOLE:
            command.append("--no-config")
        if upgrade:
            command.append("--upgrade")
        if extra != ALL:
            command += ["--constraints", str(folder / f"{ALL}.txt")]
        command.append("pyproject.toml")
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LockFailed(extra, done.stderr)
        made.append(target)
    return made


def _uv() -> str:
    """The uv of this environment: pinned in dev.txt like everything else."""
    beside = Path(sys.executable).with_name("uv")
    return os.fspath(beside) if beside.exists() else "uv"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            made = compile_locks(Path(scratch), upgrade=arguments.upgrade)
        except LockFailed as problem:
            print(problem, file=sys.stderr)
            return 1
        for lock in made:  # only when all of them resolved, so that the set stays in step
            present = ROOT / "requirements" / lock.name
            text = lock.read_text()
            changed = not present.exists() or present.read_text() != text
            present.write_text(text)
            print(f"requirements/{lock.name}: {len(pins(text))} pins{', changed' if changed else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
