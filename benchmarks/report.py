"""What every result file says first, and the files themselves: benchmarks/results/<name>.md."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")


def write(name: str, title: str, packages: Sequence[str], sections: Iterable[str]) -> Path:
    """Writes one result file; ``packages`` are those whose versions matter to its figures."""
    head = [
        f"# {title}",
        "",
        f"- Command: `make bench ARGS={name}`",
        f"- Machine: {machine()}",
        f"- Versions: Python {platform.python_version()}, {', '.join(map(_version, packages))}",
        "- Figures are medians; what is compared was run in turn, in the same minutes. Shared machines differ"
        " from minute to minute: read the ratios, not the absolute numbers.",
        "",
    ]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text("\n".join([*head, *sections]).rstrip() + "\n")
    return path


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = [flag for flag in FLAGS if flag in fields.get("flags", "").split()]
    processors = len(os.sched_getaffinity(0))
    return f"{processors} CPUs, {fields.get('model name', platform.machine())}, {' '.join(flags)}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The median, and in brackets the least and the greatest."""
    least, middle, greatest = (form.format(f(values)) for f in (min, statistics.median, max))
    return f"{middle} ({least} to {greatest})"


def _version(package: str) -> str:
    return f"{package} {metadata.version(package)}"
