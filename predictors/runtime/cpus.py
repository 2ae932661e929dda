"""How many processors this process may really use: affinity and cgroup quota, not what the host has.

A thread pool sized from the host loses 6 to 33 times in a two-CPU container, so every engine asks here.
"""

from __future__ import annotations

import math
import os
from pathlib import Path


def available_cpus(root: Path = Path("/"), affinity: int | None = None) -> int:
    """Whole processors, at least 1: min(affinity, ceil(tightest cgroup quota on the way to the root)).

    ``root`` and ``affinity`` stand in for the machine in tests.
    """
    if affinity is None:
        affinity = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def _quota(root: Path) -> float | None:
    """CPUs granted by cgroup v2 ``cpu.max`` or v1 ``cpu.cfs_*``; None when nothing limits us."""
    limits: list[float] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            limits += _walk(root / "sys/fs/cgroup", path, _v2_limit)
        elif "cpu" in controllers.split(","):
            limits += _walk(root / "sys/fs/cgroup" / controllers, path, _v1_limit)
            limits += _walk(root / "sys/fs/cgroup/cpu", path, _v1_limit)
    return min(limits, default=None)


def _walk(mount: Path, path: str, limit) -> list[float]:
    # In a container the path may name a folder of the host that is not mounted here: the mount itself
    # is then our group, so it is always looked at.
    group = mount / path.lstrip("/")
    found = []
    while True:
        value = limit(group)
        if value is not None:
            found.append(value)
        if group == mount:
            return found
        group = group.parent


def _v2_limit(group: Path) -> float | None:
    fields = _read(group / "cpu.max").split()
    if len(fields) != 2 or fields[0] == "max":
        return None
    return int(fields[0]) / int(fields[1])


def _v1_limit(group: Path) -> float | None:
    quota, period = _read(group / "cpu.cfs_quota_us").strip(), _read(group / "cpu.cfs_period_us").strip()
    if not quota or not period or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
