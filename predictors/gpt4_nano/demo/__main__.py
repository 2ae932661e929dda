"""``python -m predictors.gpt4_nano.demo OUT_DIR``: a copy of the model repository, which needs no weights."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from predictors.runtime.demo import Demo
from predictors.runtime.progress import Report

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"


def build(folder: Path, report: Report, *, quick: bool) -> str:  # noqa: ARG001 - nothing is trained
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    return "Triton's model repository, with the mock backend"


DEMO = Demo("gpt4_nano", build, needed=1_000_000, mark="gpt4_nano/config.pbtxt")

if __name__ == "__main__":
    sys.exit(DEMO.run())
