"""``python -m predictors.multitask_nlp.demo OUT_DIR``: makes the demo model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from predictors.multitask_nlp.artifact import MANIFEST
from predictors.runtime.demo import Demo
from predictors.runtime.folders import write_files
from predictors.runtime.progress import Report


def build(folder: Path, report: Report, *, quick: bool) -> str:
    report("loading torch and transformers (up to 20 s)", 0, 1)
    # Read when torch is loaded. By default OpenMP's threads spin at every barrier: with one busy neighbour on
    # a processor a step then takes ten times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    from predictors.multitask_nlp.demo import build as recipe

    files, summary = recipe.build(report, quick=quick)
    write_files(folder, files)
    return summary


DEMO = Demo("multitask_nlp", build, needed=60_000_000, mark=MANIFEST)

if __name__ == "__main__":
    sys.exit(DEMO.run())
