"""``python -m hack.demo_image``: lays the demo checkpoints ready for its build, made first if missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hack.demo_models import ROOT, demo_checkpoint, demo_models

CONTEXT = ROOT / ".local" / "demo-models"
"""Where hack/demo_image/Dockerfile finds them."""


def collect(context: Path = CONTEXT) -> list[str]:
    """The models whose checkpoints now lie in ``context``, linked where the disk allows it."""
    models = demo_models()
    for model in models:
        checkpoint, target = demo_checkpoint(model), context / model
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(checkpoint, target, copy_function=_link)
    return models


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


if __name__ == "__main__":
    for name in collect():
        print(name)
