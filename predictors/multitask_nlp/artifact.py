"""The served folder: a quantised graph, the tokenizer, and a manifest that says what they are.

    onnx/model.quant.onnx   the graph, as the original service published it
    tokenizer.json          beside it, or in tokenizer/
    manifest.json           window length, labels, checksums, how it was made; written by our export

A folder in the published layout has no manifest: it is then read with the published model's properties. Nothing
is fetched, nothing is unpickled, and every surprise is a LoadError of one sentence.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictors.multitask_nlp.tasks import NER_LABELS, SENTIMENTS
from predictors.runtime.errors import LoadError

GRAPH = "onnx/model.quant.onnx"
TOKENIZERS = ("tokenizer.json", "tokenizer/tokenizer.json")
MANIFEST = "manifest.json"
FORMAT_VERSION = 1

PUBLISHED_LENGTH = 512
"""Tokens that the published service read of a text."""

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Artifact:
    graph: Path
    tokenizer: Path
    max_length: int
    """Tokens in a window, specials included."""
    checksum: str
    """SHA-256 of the graph, in hex."""


def read_artifact(folder: Path) -> Artifact:
    """Raises LoadError when the folder is not complete or not what its manifest says."""
    if not folder.is_dir():
        raise LoadError(f"The model folder {folder} does not exist or is not a folder.")
    graph = folder / GRAPH
    if not graph.is_file():
        pickles = sorted(p for p in folder.rglob("*") if p.suffix in _PICKLES)
        if pickles:
            raise LoadError(
                f"{pickles[0]} is a pickle, which is never loaded; make {GRAPH} of it with "
                "python -m predictors.multitask_nlp.training export."
            )
        raise LoadError(f"The model folder {folder} has no file {GRAPH}.")
    tokenizer = next((folder / name for name in TOKENIZERS if (folder / name).is_file()), None)
    if tokenizer is None:
        raise LoadError(f"The model folder {folder} has no file {TOKENIZERS[0]}.")
    for file in (graph, tokenizer):
        if file.stat().st_size == 0:
            raise LoadError(f"{file} is empty.")
    if not (folder / MANIFEST).is_file():
        return Artifact(graph, tokenizer, PUBLISHED_LENGTH, sha256(graph))
    manifest = _read_manifest(folder / MANIFEST)
    for name, expected in manifest["sha256"].items():
        if not (folder / name).is_file():
            raise LoadError(f"The model folder {folder} has no file {name}, which its {MANIFEST} names.")
        if sha256(folder / name) != expected:
            raise LoadError(f"{folder / name} is not the file its {MANIFEST} names: the checksum differs.")
    return Artifact(graph, tokenizer, manifest["max_length"], manifest["sha256"][GRAPH])


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path} is not valid JSON: {str(error).rstrip('.')}.") from None
    if not isinstance(manifest, dict):
        raise LoadError(f"{path} must hold a JSON object.")
    expected = {
        "format_version": FORMAT_VERSION,
        "sentiments": list(SENTIMENTS),
        "ner_labels": list(NER_LABELS),
    }
    for name, value in expected.items():
        if manifest.get(name) != value:
            raise LoadError(f"{path} gives {name} as {manifest.get(name)!r}, expected {value!r}.")
    length = manifest.get("max_length")
    if type(length) is not int or length < 16:
        raise LoadError(f"{path} gives max_length as {length!r}, expected a whole number from 16.")
    sums = manifest.get("sha256")
    if not isinstance(sums, dict) or GRAPH not in sums or not all(isinstance(v, str) for v in sums.values()):
        raise LoadError(f"{path} must have an object sha256 with an entry for {GRAPH}.")
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in sums):
        raise LoadError(f"{path} names a file outside its folder.")
    return manifest
