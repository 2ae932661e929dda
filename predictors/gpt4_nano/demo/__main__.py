"""``python -m predictors.gpt4_nano.demo FOLDER``: a copy of the model repository, which needs no weights."""

import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"

if __name__ == "__main__":
    (target,) = sys.argv[1:]
    shutil.copytree(REPOSITORY, target, ignore=shutil.ignore_patterns("__pycache__"))
