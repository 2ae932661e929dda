"""The cluster's images, built by buildah without a daemon and pushed to the registry in the node."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import node
from hack.cluster.places import BASE, HOME, IMAGES, REGISTRY_HOST
from hack.cluster.programs import KSERVE, binary
from hack.system import need

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PACKAGES = "python3,python3-venv,python3-pip,libpython3.11,ca-certificates"
_CONTENT = hashlib.sha256(_PACKAGES.encode()).hexdigest()[:8]
BASE_IMAGE = f"localhost/quintet-cluster/debian:bookworm-{_CONTENT}"
STAMPS = HOME / "images"
"""What each pushed image was made of."""

_PAUSE = """package main

import (
	"os"
	"os/signal"
	"syscall"
)

// The first process of a pod: waits to be ended, and reaps orphans.
func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
"""


class ImageFailed(Exception):
    """An image could not be made; the message is the builder's."""


@dataclass(frozen=True)
class Image:
    name: str
    """With its tag."""
    dockerfile: Path


def ours(version: str, models: Iterable[str]) -> list[Image]:
    folders = {"gateway": "gateway"}
    folders |= {model.replace("_", "-"): f"predictors/{model}" for model in models}
    folders["demo-models"] = "hack/demo_image"
    return [
        Image(f"quintet/{name}:{version}", ROOT / folder / "Dockerfile") for name, folder in folders.items()
    ]


def inputs(dockerfile: Path) -> list[str]:
    """What it copies from the clone."""
    text = re.sub(r"\\\n", " ", dockerfile.read_text())
    copies = [line.split()[1:] for line in text.splitlines() if line.startswith("COPY ")]
    return [
        word
        for words in copies
        if not any(word.startswith("--from=") for word in words)
        for word in words[:-1]
        if not word.startswith("--")
    ]


def state(image: Image, base: str = BASE_IMAGE, root: Path = ROOT) -> str:
    """Of all that it is made of: while it is the same, nothing is built."""
    files = [image.dockerfile, root / ".dockerignore", *(root / name for name in inputs(image.dockerfile))]
    return _digest(files, base)


def told(image: Image, commit: str) -> list[str]:
    """The builder's flags for what the image says of itself."""
    version = image.name.rpartition(":")[2]
    return ["--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={commit}"]


def revision(root: Path = ROOT) -> str:
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


SYSTEM = {
    f"quintet-cluster/kserve-controller:{KSERVE}": "kserve-manager",
    "quintet-cluster/coredns:v1.14.0": "coredns",
    "quintet-cluster/metrics-server:v0.9.0": "metrics-server",
    "quintet-cluster/kwok:v0.7.0": "kwok",
}
"""Images of one static program, by name."""


def push_system(say: Callable[[str], None]) -> None:
    pause = HOME / "pause"
    if not pause.exists():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "main.go").write_text(_PAUSE)
            environ = {**os.environ, "CGO_ENABLED": "0"}
            command = ["go", "build", "-ldflags=-s -w", "-o", str(pause), str(Path(folder) / "main.go")]
            subprocess.run(command, check=True, env=environ)
    _push_static("quintet-cluster/pause:1", pause, say)
    for name, program in SYSTEM.items():
        if binary(program).exists():
            _push_static(name, binary(program), say)


def push_prometheus(say: Callable[[str], None]) -> str:
    """Debian's, for the tests; its name."""
    name = "quintet-cluster/prometheus:debian"
    program = need("prometheus")
    made_of = _digest([program], BASE_IMAGE)
    if not _stamp(name, made_of):
        _base(say)
        with tempfile.TemporaryDirectory(dir=HOME) as folder:
            shutil.copyfile(program, Path(folder) / "prometheus")
            (Path(folder) / "prometheus").chmod(0o755)
            lines = [f"FROM {BASE_IMAGE}", "COPY prometheus /usr/bin/", "USER 65532:65532"]
            (Path(folder) / "Dockerfile").write_text("\n".join([*lines, 'ENTRYPOINT ["prometheus"]', ""]))
            _buildah("bud", "--quiet", "--isolation", "chroot", "--tag", f"localhost/{name}", folder)
        _push(name, made_of)
    return name


def push_ours(images: Iterable[Image], say: Callable[[str], None]) -> None:
    commit = revision()
    for image in images:
        found = state(image)
        if _stamp(image.name, found):
            continue
        _base(say)
        say(f"building {image.name}")
        _buildah(
            *("bud", "--quiet", "--isolation", "chroot", "--network", "host", "--pull-never", "--layers"),
            "--force-rm",  # else the last stage leaves a container behind, and the image cannot be removed
            *("--volume", f"{BUNDLE}:{BUNDLE}:ro", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}"),
            *("--ignorefile", str(ROOT / ".dockerignore"), "--file", str(image.dockerfile)),
            *told(image, commit),
            *("--tag", f"localhost/{image.name}", str(ROOT)),
        )
        _push(image.name, found)


def unmount() -> None:
    """What buildah keeps mounted, and what a build that was killed has left."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in reversed([path for path in mounted if path.startswith(f"{IMAGES}/")]):
        subprocess.run(["umount", path], check=False)


def _base(say: Callable[[str], None]) -> None:
    if _buildah("images", "--quiet", "--filter", f"reference={BASE_IMAGE}").strip():
        return
    done = BASE.with_name(f"{BASE.name}.{_CONTENT}")
    if not done.exists():
        say("making a Debian for the images")
        shutil.rmtree(BASE, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(BASE)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise ImageFailed(f"debootstrap: {made.stdout[-2000:]}")
        done.touch()
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        rest = ("./var/cache/apt/*", "./var/lib/apt/lists/*", "./dev/*")
        tar = [
            "tar",
            "-C",
            str(BASE),
            *(f"--exclude={path}" for path in rest),
            "-cf",
            f"{folder}/base.tar",
            ".",
        ]
        subprocess.run(tar, check=True)
        (Path(folder) / "Dockerfile").write_text(
            "FROM scratch\nADD base.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n"
        )
        _buildah("bud", "--quiet", "--pull-never", "--tag", BASE_IMAGE, folder)


def _push_static(name: str, program: Path, say: Callable[[str], None]) -> None:
    made_of = _digest([program])
    if _stamp(name, made_of):
        return
    say(f"packing {name}")
    with static_context(name, program) as folder:
        _buildah("bud", "--quiet", "--isolation", "chroot", "--tag", f"localhost/{name}", str(folder))
    _push(name, made_of)


@contextlib.contextmanager
def static_context(name: str, program: Path) -> Iterator[Path]:
    """A folder to build the image of one static program in."""
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        shutil.copyfile(program, Path(folder) / "program")
        (Path(folder) / "program").chmod(0o755)
        (Path(folder) / "tmp").mkdir()
        entry = name.rpartition("/")[2].partition(":")[0]
        entry = "manager" if entry == "kserve-controller" else entry
        lines = ["FROM scratch", f"COPY program /{entry}", "COPY --chown=65532:65532 tmp /tmp"]
        lines += ["USER 65532:65532" if entry != "coredns" else "USER 0:0", f'ENTRYPOINT ["/{entry}"]', ""]
        (Path(folder) / "Dockerfile").write_text("\n".join(lines))
        yield Path(folder)


def _push(name: str, made_of: str) -> None:
    _buildah("push", "--quiet", "--tls-verify=false", f"localhost/{name}", f"docker://{REGISTRY_HOST}/{name}")
    # The tag is the same, so the node would keep what it has; the next pod is to have this one.
    node.inside("ctr", "-n", "k8s.io", "images", "rm", f"docker.io/{name}")
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / name.replace("/", "_")).write_text(made_of)


def _stamp(name: str, made_of: str) -> bool:
    file = STAMPS / name.replace("/", "_")
    return file.exists() and file.read_text() == made_of


def _digest(paths: Iterable[Path], *words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(path.parent)).encode() + b"\0")
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _buildah(*arguments: str) -> str:
    places = ["--root", str(IMAGES), "--runroot", f"{IMAGES}-run", "--storage-driver", "overlay"]
    done = subprocess.run(["buildah", *places, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageFailed(f"buildah {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
