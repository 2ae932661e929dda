from __future__ import annotations

from pathlib import Path

import pytest

from predictors.runtime.cpus import available_cpus

V2 = "0::/kubepods/pod1/c1\n"
V1 = "5:memory:/kubepods/pod1\n4:cpu,cpuacct:/kubepods/pod1\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "affinity", "expected"),
    [
        pytest.param({}, 32, 32, id="no cgroup at all"),
        pytest.param({"proc/self/cgroup": V2}, 32, 32, id="v2 without a limit"),
        pytest.param(
            {"proc/self/cgroup": V2, "sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "200000 100000\n"},
            32,
            2,
            id="v2: a quota of 2 CPUs on 32 cores",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"},
            32,
            2,
            id="v2 in a container: the root is ours, and 1.5 CPUs are 2 threads",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V2,
                "sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "max 100000\n",
                "sys/fs/cgroup/kubepods/pod1/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/kubepods/cpu.max": "800000 100000\n",
            },
            32,
            3,
            id="v2: the tightest group on the way counts",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/cpu.cfs_period_us": "100000\n",
            },
            32,
            2,
            id="v1: a quota of 2 CPUs on 32 cores",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            32,
            4,
            id="v1 in a container: only the mount itself is there",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/kubepods/pod1/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/kubepods/pod1/cpu.cfs_period_us": "100000\n",
            },
            8,
            8,
            id="v1 without a limit",
        ),
        pytest.param(
            {"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "10000 100000\n"},
            4,
            1,
            id="never less than one",
        ),
        pytest.param(
            {"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "800000 100000\n"},
            2,
            2,
            id="affinity is a limit",
        ),
    ],
)
def test_threads_follow_affinity_and_quota(
    tmp_path: Path, files: dict[str, str], affinity: int, expected: int
) -> None:
    assert available_cpus(machine(tmp_path, files), affinity) == expected
