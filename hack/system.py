"""Programs that tests and benchmarks need from outside Python: how to find each, which Debian package has it.

``python -m hack.system tests`` installs what is missing where it may (root, apt) and otherwise names all
of it in one message. A test asks ``need("promtool")`` for the path: without it the test is skipped on a
developer's machine and fails in CI.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    program: str
    package: str
    used_by: str
    """``tests``, ``benchmarks``, ``cluster`` or ``e2e``: the same words as on the command line."""
    unpack: str | None = None
    """Take just this file out of the package. For packages that would also install and start a service."""


PARTS = (
    Part("promtool", "prometheus", "tests", unpack="usr/bin/promtool"),
    # Kafka's broker, whose jars come by Maven.
    Part("java", "openjdk-17-jre-headless", "tests"),
    Part("mvn", "maven", "tests"),
    # The server's own program under another name, from the package that starts no service.
    Part("redis-check-rdb", "redis-tools", "tests"),
    Part("wrk", "wrk", "benchmarks"),
    Part("containerd", "containerd", "cluster"),
    Part("runc", "runc", "cluster"),
    Part("etcd", "etcd-server", "cluster"),
    Part("buildah", "buildah", "cluster"),
    Part("debootstrap", "debootstrap", "cluster"),
    Part("docker-registry", "docker-registry", "cluster"),
    Part("host-local", "containernetworking-plugins", "cluster"),
    Part("ip", "iproute2", "cluster"),
    Part("iptables", "iptables", "cluster"),
    Part("prometheus", "prometheus", "e2e", unpack="usr/bin/prometheus"),
)
_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/cni"
"""Where Debian has programs that a person's PATH may not name."""


class MissingPart(Exception):
    """A program is not there; the message says what to do."""


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get("QUINTET_CACHE") or Path.home() / ".cache" / "quintet")


def parts(used_by: str) -> list[Part]:
    return [part for part in PARTS if part.used_by == used_by]


def find(part: Part) -> Path | None:
    found = shutil.which(part.program) or shutil.which(part.program, path=f"{_unpacked()}:{_FOLDERS}")
    return Path(found) if found else None


def need(program: str) -> Path:
    """The path of a program for a test; skips the test without it, unless this is CI."""
    part = next(part for part in PARTS if part.program == program)
    if found := find(part):
        return found
    if in_ci():
        raise MissingPart(sentence([part]))
    raise unittest.SkipTest(sentence([part]))


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def sentence(missing: Iterable[Part]) -> str:
    """One sentence for all that is missing, with the one command that helps."""
    parts = list(missing)
    programs = ", ".join(part.program for part in parts)
    packages = " ".join(dict.fromkeys(part.package for part in parts))
    command = f"sudo apt-get install -y --no-install-recommends {packages}"
    return f"not on this machine: {programs}; install with: {command}"


def install(parts: list[Part]) -> None:
    """Install with apt; raises ``CalledProcessError`` when apt does not succeed."""
    packages = [part.package for part in parts if part.unpack is None]
    try:
        _install(packages, parts)
    except subprocess.CalledProcessError:
        _apt("update", "-qq")  # no package lists yet, or old ones
        _install(packages, parts)


def _install(packages: list[str], parts: list[Part]) -> None:
    if packages:
        _apt("install", "-y", "-qq", "--no-install-recommends", *packages)
    for part in parts:
        if part.unpack is not None:
            _unpack(part)


def _unpack(part: Part) -> None:
    assert part.unpack is not None
    _unpacked().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_unpacked()) as scratch:
        _apt("download", "-qq", "-o", "APT::Sandbox::User=root", part.package, cwd=scratch)
        (package,) = Path(scratch).glob("*.deb")
        _quiet(["dpkg-deb", "--extract", str(package), scratch])
        (Path(scratch) / part.unpack).rename(_unpacked() / part.program)


def _unpacked() -> Path:
    return cache_folder() / "bin"


def _apt(*arguments: str, cwd: str | None = None) -> None:
    _quiet(["apt-get", *arguments], cwd=cwd)


def _quiet(command: list[str], cwd: str | None = None) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, cwd=cwd, env=environ, check=True, capture_output=True, text=True)


def provide(*used_by: str) -> list[Part]:
    """Installs what is missing where it may; returns what is missing still."""
    missing = [part for part in PARTS if part.used_by in used_by and find(part) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {', '.join(part.program for part in missing)} from Debian", file=sys.stderr)
        try:
            install(missing)
        except subprocess.CalledProcessError as problem:
            print(problem.stderr.strip(), file=sys.stderr)
    return [part for part in missing if find(part) is None]


def main(arguments: list[str]) -> int:
    missing = provide(*arguments)
    if not missing:
        return 0
    print(sentence(missing), file=sys.stderr)
    if in_ci() or "tests" not in arguments:
        return 1
    print("the tests that need it are skipped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
