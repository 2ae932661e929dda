"""Where each model's weights are: artifacts, or checkpoints under their published names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from predictors.gpt2.artifact import MANIFEST
from predictors.runtime.errors import LoadError

SPAM, GOT, GENERATE = "spam", "got", "generate"
MODELS = (GENERATE, GOT, SPAM)

CHECKPOINTS: Mapping[str, tuple[str, ...]] = {
    SPAM: ("spam_model.pth",),
    GOT: ("model.pth",),
    GENERATE: ("gpt2.pth", "pytorch_model.bin", "model.safetensors"),
}
"""File names of checkpoints, the published ones first."""


@dataclass(frozen=True)
class Source:
    model: str
    path: Path
    """An artifact's folder or a checkpoint's file."""

    @property
    def converted(self) -> bool:
        return self.path.is_dir()


def find_sources(folder: Path, checkpoint: Path | None) -> dict[str, Source]:
    """Model -> its weights. ``checkpoint``: of the default model, if named by itself.

    Raises LoadError when there are none.
    """
    if checkpoint is not None and not checkpoint.exists():
        raise LoadError(f"The checkpoint {checkpoint} does not exist.")
    found: dict[str, Source] = {}
    if folder.is_dir():
        for model in MODELS:
            if (path := _weights(folder, model)) is not None:
                found[model] = Source(model, path)
        if (folder / MANIFEST).is_file():
            found[GENERATE] = Source(GENERATE, folder)
    elif checkpoint is None:
        raise LoadError(f"The folder {folder} does not exist or is not a folder.")
    if checkpoint is not None:
        # As published: one checkpoint answers questions and goes on with any other text.
        found.pop(GENERATE, None)
        found[GOT] = Source(GOT, checkpoint)
    if not found:
        raise LoadError(
            f"The folder {folder} has no model: neither artifacts ({', '.join(MODELS)}) nor checkpoints"
            f" ({', '.join(name for names in CHECKPOINTS.values() for name in names)})."
        )
    return found


def _weights(folder: Path, model: str) -> Path | None:
    if (folder / model / MANIFEST).is_file():
        return folder / model
    names = (folder / name for name in CHECKPOINTS[model])
    return next((path for path in names if path.is_file()), None)
