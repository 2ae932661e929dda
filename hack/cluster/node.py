"""The node: namespaces of its own in which everything of the cluster runs.

Its first process (this module, as PID 1) mounts, sets up the network, and keeps the daemons running. When it
ends, the kernel ends every daemon and container with it and drops their mounts, interfaces and rules.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hack.cluster import daemons
from hack.cluster.leftovers import cgroups
from hack.cluster.places import (
    BINARIES,
    CONFIG,
    HOST_IP,
    HOST_LINK,
    LOGS,
    NODE_IP,
    NODE_LINK,
    NODE_PID,
    POD_CIDR,
    RUN,
    SERVICE_CIDR,
    STATE,
)

READY = RUN / "node.ready"
MOUNTED = ("lib/kubelet", "lib/containerd", "lib/cni", "log/pods", "log/containers")
"""Folders under /var that daemons write to, wherever one looks from."""
CGROUP = "quintet-cluster"
_UNSHARE = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
_SETTINGS = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}


class NodeFailed(Exception):
    """The node did not come up; the message says where to look."""


# --- from outside ---------------------------------------------------------------------------------


def pid() -> int | None:
    """Of the node's first process, if it runs."""
    try:
        number = int(NODE_PID.read_text())
        command = Path(f"/proc/{number}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return number if b"hack.cluster.node" in command else None


def start() -> None:
    """Does nothing when it already runs."""
    if pid() is not None:
        return
    for folder in (RUN, LOGS, CONFIG, STATE):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in daemons.files().items():
        file = CONFIG / name
        file.parent.mkdir(exist_ok=True)
        if not file.exists() or file.read_text() != text:  # kube-proxy ends when its file is written
            file.write_text(text)
    READY.unlink(missing_ok=True)
    with (LOGS / "node.log").open("ab") as log:
        outer = subprocess.Popen(
            ["unshare", *_UNSHARE, sys.executable, "-m", "hack.cluster.node"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_enter_cgroup,
        )
    _until(READY.exists, 20, "the node's first process")
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    NODE_PID.write_text(children[0])
    _run("ip", "link", "del", HOST_LINK, check=False)
    _run("ip", "link", "add", HOST_LINK, "type", "veth", "peer", "name", NODE_LINK)
    _run("ip", "link", "set", NODE_LINK, "netns", children[0])
    _run("ip", "addr", "add", f"{HOST_IP}/30", "dev", HOST_LINK)
    _run("ip", "link", "set", HOST_LINK, "up")
    for network in (POD_CIDR, SERVICE_CIDR):
        _run("ip", "route", "replace", network, "via", NODE_IP)


def stop() -> None:
    """Ends it and removes what it leaves."""
    if (first := pid()) is not None:
        os.kill(first, signal.SIGTERM)
        with contextlib.suppress(NodeFailed):
            _until(lambda: pid() is None, 10, "")
        if (first := pid()) is not None:
            os.kill(first, signal.SIGKILL)
            _until(lambda: pid() is None, 10, "the end of the node")
    _run("ip", "link", "del", HOST_LINK, check=False)  # its routes go with it
    NODE_PID.unlink(missing_ok=True)
    with contextlib.suppress(NodeFailed):  # a group is busy until its last process is reaped
        _until(_remove_cgroups, 10, "")


def inside(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the node's namespaces."""
    return _run("nsenter", "-t", str(pid()), "-m", "-n", "-p", *command, check=False)


def _enter_cgroup() -> None:
    """So that what the daemons use can be measured, and is not the caller's."""
    for controller in Path("/sys/fs/cgroup").glob("*/tasks"):
        group = controller.parent / CGROUP
        with contextlib.suppress(OSError):
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (group / name).exists():
                    (group / name).write_text((group.parent / name).read_text())
            (group / "cgroup.procs").write_text(str(os.getpid()))


def _remove_cgroups() -> bool:
    for top in cgroups():
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
    return not cgroups()


def _until(holds, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise NodeFailed(f"{what} took more than {seconds:.0f} s; see {LOGS}")
        time.sleep(0.05)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise NodeFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done


# --- as PID 1 -------------------------------------------------------------------------------------


def main() -> None:
    _mount()
    READY.write_text("")
    _network()
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environ["PATH"] = f"{BINARIES}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    commands = daemons.commands()
    running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    def begin(name: str) -> None:
        with (LOGS / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                commands[name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,
            )
        running[process.pid] = (name, process)  # held: a collected Popen would reap others' children

    def end(*_: object) -> None:
        for number in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)
        time.sleep(1)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    for name in commands:
        begin(name)
    while True:
        number, status = os.wait()  # orphans of containers too: this is PID 1
        if number in running:
            name, process = running.pop(number)
            process.returncode = status
            with (LOGS / f"{name}.log").open("a") as log:
                log.write(f"\n=== ended with status {status}; started again\n")
            time.sleep(2)
            begin(name)


def _mount() -> None:
    _run("mount", "--make-rshared", "/")  # the kubelet's volumes must be seen in containers
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in MOUNTED:
        (Path("/var") / name).mkdir(parents=True, exist_ok=True)
        (STATE / name).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(STATE / name), f"/var/{name}")
    Path("/run/netns").mkdir()


def _network() -> None:
    _until(lambda: _run("ip", "link", "show", NODE_LINK, check=False).returncode == 0, 20, "the link")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "addr", "add", f"{NODE_IP}/30", "dev", NODE_LINK)
    _run("ip", "link", "set", NODE_LINK, "up")
    # No default route: nothing in the cluster reaches anything outside. But connecting to a service's address
    # must find some route, to be led elsewhere by kube-proxy's rules.
    _run("ip", "route", "add", SERVICE_CIDR, "via", HOST_IP)
    for chain in ("FORWARD", "OUTPUT"):
        # What kube-proxy has no rule for yet is refused; left alone, its connection would hang for 30 s.
        _run("iptables", "-A", chain, "-d", SERVICE_CIDR, "-j", "REJECT")
    for name, value in _SETTINGS.items():
        with contextlib.suppress(OSError):
            Path("/proc/sys", name).write_text(value)


if __name__ == "__main__":
    main()
