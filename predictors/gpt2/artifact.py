"""The served artifact: a folder with the weights in 8 bits, the tokenizer and a manifest.

The manifest names every file with its size and SHA-256; a folder is taken as a whole or refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from predictors.gpt2.shape import LABELS, VOCAB, ModelShape
from predictors.runtime.errors import LoadError

FORMAT = 3
"""Of the manifest and of the tensors; another number is another converter's work."""
MANIFEST = "manifest.json"
WEIGHTS, TOKENIZER = "weights.safetensors", "tokenizer.json"
QUANTISED, SCALES = ".quantised", ".scales"
"""Ends of the names of a matrix in 8 bits, and of its scales, one a block."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Strict):
    size: int
    sha256: str


class Shape(_Strict):
    layers: int
    hidden: int
    context: int
    outputs: Literal[50257, 2]


class Manifest(_Strict):
    format: Literal[3]
    shape: Shape
    tied: bool
    """Whether the head's weights are the embedding's."""
    source: str
    """Name of the checkpoint that was converted."""
    source_sha256: str
    files: dict[str, File]


class Artifact:
    """A folder whose manifest has been read; ``verify`` looks at every byte."""

    def __init__(self, folder: Path) -> None:
        """Raises LoadError when ``folder`` is no artifact of this format."""
        self.folder = folder
        path = folder / MANIFEST
        try:
            self.manifest = Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise LoadError(f"The artifact {folder} has no {MANIFEST}.") from None
        except OSError as error:
            raise LoadError(f"{path} cannot be read: {error.strerror}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise LoadError(
                f"{path} is not a manifest of format {FORMAT}: {where}: {first['msg']}."
            ) from None
        if missing := {WEIGHTS, TOKENIZER} - self.manifest.files.keys():
            raise LoadError(f"{path} does not name {', '.join(sorted(missing))}.")
        shape = self.manifest.shape
        assert {VOCAB, LABELS} >= {shape.outputs}
        self.shape = ModelShape(shape.layers, shape.hidden, shape.context, shape.outputs)

    @property
    def checksum(self) -> str:
        """SHA-256 over the manifest, and so over every file."""
        return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of weights."""
        return self.manifest.files[WEIGHTS].size

    def path(self, name: str) -> Path:
        return self.folder / name

    def verify(self) -> None:
        """Raises LoadError when a file is missing, cut off or altered."""
        for name, wanted in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file():
                raise LoadError(f"The artifact {self.folder} has no file {name}.")
            if path.stat().st_size != wanted.size:
                raise LoadError(f"{path} has {path.stat().st_size} bytes, its manifest says {wanted.size}.")
            if digest(path) != wanted.sha256:
                raise LoadError(f"{path} is not the file its manifest describes: its SHA-256 differs.")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
