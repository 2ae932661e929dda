"""``python -m predictors.gpt2.demo OUT_DIR``: makes the demo model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from predictors.runtime.demo import Demo
from predictors.runtime.progress import Report


def build(folder: Path, report: Report, *, quick: bool) -> str:
    report("loading torch (up to 20 s)", 0, 1)
    # OpenMP's threads spin for seconds at a barrier by default: a busy neighbour then slows torch many times
    # over. It is read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from predictors.gpt2.demo import build as recipe

    return recipe.build(folder, report, quick=quick)


DEMO = Demo("gpt2", build, needed=300_000_000, mark="eval.json")

if __name__ == "__main__":
    sys.exit(DEMO.run())
