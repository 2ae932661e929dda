"""What of the cluster is on the machine while none runs: nothing, or `make cluster-down` has a fault."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hack.cluster.places import (
    BINARIES,
    HOME,
    HOST_LINK,
    NODE_LINK,
    POD_CIDR,
    RUN,
    SERVICE_CIDR,
)

CGROUPS = ("quintet-cluster", "kubepods", "k8s.io")
_CHAINS = re.compile(r"(KUBE|CNI|QUINTET|QP)-")
_NETWORKS = (SERVICE_CIDR, POD_CIDR)


def leftovers() -> list[str]:
    """Each as a person would look for it: processes, mounts, interfaces, routes, rules, control groups."""
    return [*_processes(), *_mounts(), *_network(), *_rules(), *(f"cgroup {path}" for path in cgroups())]


def cgroups() -> list[Path]:
    """Of every hierarchy of version 1, and of version 2 alone."""
    patterns = [pattern for name in CGROUPS for pattern in (name, f"*/{name}")]
    return [path for pattern in patterns for path in Path("/sys/fs/cgroup").glob(pattern)]


def _processes() -> Iterator[str]:
    programs = (b"containerd-shim", *(path.name.encode() for path in BINARIES.glob("*")))
    ours = (f"{RUN}/".encode(), b"hack.cluster.node", b"hack.cluster.policies")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        program = command.split(b"\0", 1)[0].rpartition(b"/")[2]
        if program.startswith(programs) or any(sign in command for sign in ours):
            said = command.decode(errors="replace").replace("\0", " ")
            yield f"process {folder.name} {said[:100]}"


def _mounts() -> Iterator[str]:
    for line in Path("/proc/mounts").read_text().splitlines():
        at = line.split()[1]
        if at.startswith((f"{HOME}/", "/var/lib/kubelet/", "/var/lib/containerd/", "/run/netns/")):
            yield f"mount {at}"


def _network() -> Iterator[str]:
    links, routes = _said("ip", "-o", "link"), _said("ip", "route")
    yield from (f"interface {name}" for name in (HOST_LINK, NODE_LINK, "cni0") if f" {name}" in links)
    yield from (f"route {line}" for line in routes.splitlines() if line.startswith(_NETWORKS))


def _rules() -> Iterator[str]:
    for save in ("iptables-save", "ip6tables-save"):
        yield from (f"rule {line}" for line in _said(save).splitlines() if _CHAINS.search(line))


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
