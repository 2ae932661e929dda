"""``python -m predictors.prompt_classifier.demo OUT_DIR``: makes the demo model."""

from __future__ import annotations

import sys
from pathlib import Path

from predictors.runtime.demo import Demo
from predictors.runtime.folders import write_files
from predictors.runtime.progress import Report


def build(folder: Path, report: Report, *, quick: bool) -> str:
    report("loading torch and transformers (up to 20 s)", 0, 1)
    from predictors.prompt_classifier.demo import build as recipe

    files, summary = recipe.build(report, quick=quick)
    write_files(folder, files)
    return summary


DEMO = Demo("prompt_classifier", build, needed=12_000_000)

if __name__ == "__main__":
    sys.exit(DEMO.run())
