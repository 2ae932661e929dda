"""Strict loader of the published checkpoint: one folder with config.json, model.safetensors, tokenizer.json.

The format is that of ``nvidia/prompt-task-and-complexity-classifier``: a DeBERTa-v3 backbone under
``backbone.*`` and eight linear heads under ``head_0.fc.*`` to ``head_7.fc.*``. The folder is read as it
stands: nothing is fetched, nothing is unpickled, and every surprise is a :class:`LoadError` of one sentence.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open

from predictors.prompt_classifier.scoring import TARGETS, ScoringConfig
from predictors.runtime.errors import LoadError

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
TOKENIZER_NAME = "tokenizer.json"

HEAD_SIZE = 64
"""Width of one attention head: every DeBERTa-v3 has 64, and no tensor's shape tells it."""

_PICKLE_SUFFIXES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
_IGNORED_KEYS = frozenset({"backbone.embeddings.position_ids"})
"""An index buffer that older transformers saved beside the weights; DeBERTa-v3 never reads it."""


@dataclass(frozen=True)
class ModelShape:
    """Sizes of the backbone, read off the tensors."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    position_buckets: int
    vocab: int


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: complete, of consistent shapes, with finite values only."""

    config: ScoringConfig
    tensors: dict[str, torch.Tensor]
    """fp32, under the names the file gives them."""
    tokenizer_file: Path
    checksum: str
    """SHA-256 of model.safetensors, in hex."""
    shape: ModelShape


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify the checkpoint in ``folder``; a :class:`LoadError` says in a sentence what is wrong."""
    weights_file = _require_files(folder)
    config = _read_config(folder / CONFIG_NAME)
    tensors = _read_tensors(weights_file)
    shape = _verify_tensors(tensors, weights_file)
    with weights_file.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(config, tensors, folder / TOKENIZER_NAME, checksum, shape)


def _require_files(folder: Path) -> Path:
    """The path of model.safetensors, once all three files are known to be there."""
    if not folder.is_dir():
        raise LoadError(f"The checkpoint folder {folder} does not exist or is not a folder.")
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        raise LoadError(f"The checkpoint folder {folder} is empty.")
    if WEIGHTS_NAME not in names:
        pickles = [name for name in names if name.endswith(_PICKLE_SUFFIXES)]
        if pickles:
            raise LoadError(
                f"{folder / pickles[0]} is a pickle, which is never loaded: convert it to {WEIGHTS_NAME}."
            )
    for name in (WEIGHTS_NAME, CONFIG_NAME, TOKENIZER_NAME):
        if not (folder / name).is_file():
            raise LoadError(f"The checkpoint folder {folder} has no file {name}.")
        if (folder / name).stat().st_size == 0:
            raise LoadError(f"{folder / name} is empty.")
    return folder / WEIGHTS_NAME


def _read_config(path: Path) -> ScoringConfig:
    # Read as plain JSON: the published file has no model_type, and AutoConfig guesses one from the path.
    try:
        raw = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path} is not valid JSON: {str(error).rstrip('.')}.") from None
    if not isinstance(raw, dict):
        raise LoadError(f"{path} must hold a JSON object, not {_kind(raw)}.")

    def section(name: str) -> dict[str, Any]:
        value = raw.get(name)
        if not isinstance(value, dict):
            raise LoadError(f"{path} must have an object {name}, not {_kind(value)}.")
        return value

    sizes = section("target_sizes")
    if sizes != dict(TARGETS):
        wrong = next(name for name in [*TARGETS, *sizes] if sizes.get(name) != TARGETS.get(name))
        raise LoadError(
            f"{path} gives target_sizes.{wrong} as {sizes.get(wrong)!r}, expected {TARGETS.get(wrong)!r}."
        )

    names = section("task_type_map")
    classes = [str(index) for index in range(TARGETS["task_type"])]
    if set(names) != set(classes) or not all(isinstance(name, str) for name in names.values()):
        raise LoadError(
            f"{path} must name the task types 0 to {len(classes) - 1} in task_type_map, each once."
        )

    weights_map, divisor_map = section("weights_map"), section("divisor_map")
    weights: dict[str, tuple[float, ...]] = {}
    divisors: dict[str, float] = {}
    for target, size in list(TARGETS.items())[1:]:
        row, divisor = weights_map.get(target), divisor_map.get(target)
        if not isinstance(row, list) or len(row) != size or not all(_is_finite(value) for value in row):
            raise LoadError(f"{path} must give weights_map.{target} as a list of {size} finite numbers.")
        if not _is_finite(divisor) or divisor == 0:
            raise LoadError(f"{path} must give divisor_map.{target} as a number other than 0.")
        weights[target] = tuple(float(value) for value in row)
        divisors[target] = float(divisor)
    return ScoringConfig(tuple(names[index] for index in classes), weights, divisors)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        magic = file.read(9)
    if magic.startswith((b"PK\x03\x04", b"\x80")) and magic[8:] != b"{":
        raise LoadError(f"{path} is a pickle and not a safetensors file; pickles are never loaded.")
    try:
        # safe_open maps the file; the copies below are what is kept, so the file may be replaced afterwards.
        with safe_open(path, framework="pt") as file:
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise LoadError(f"{path} is truncated or not a safetensors file: {str(error).rstrip('.')}.") from None
    tensors: dict[str, torch.Tensor] = {}
    for key, tensor in found.items():
        if key in _IGNORED_KEYS:
            continue
        if not tensor.is_floating_point():
            raise LoadError(f"{path} holds {key} as {_dtype_name(tensor)}, expected floating point numbers.")
        tensors[key] = tensor.to(torch.float32, copy=True)
    return tensors


def _verify_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> ModelShape:
    shape = _derive_shape(tensors, path)
    expected = expected_shapes(shape)
    missing = [key for key in expected if key not in tensors]
    if missing:
        raise LoadError(f"{path} lacks {_listed(missing)}.")
    unexpected = sorted(key for key in tensors if key not in expected)
    if unexpected:
        raise LoadError(f"{path} holds what this model does not have: {_listed(unexpected)}.")
    for key, wanted in expected.items():
        if tuple(tensors[key].shape) != wanted:
            raise LoadError(
                f"{path} holds {key} of shape {list(tensors[key].shape)}, expected {list(wanted)}."
            )
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
            raise LoadError(f"{path} holds values in {key} that are not finite numbers.")
    return shape


def expected_shapes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Every key a checkpoint of these sizes has, with the shape of its tensor."""
    hidden, intermediate = shape.hidden, shape.intermediate
    keys: dict[str, tuple[int, ...]] = {"backbone.embeddings.word_embeddings.weight": (shape.vocab, hidden)}

    def linear(name: str, rows: int, columns: int) -> None:
        keys[f"{name}.weight"], keys[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str) -> None:
        keys[f"{name}.weight"] = keys[f"{name}.bias"] = (hidden,)

    norm("backbone.embeddings.LayerNorm")
    keys["backbone.encoder.rel_embeddings.weight"] = (2 * shape.position_buckets, hidden)
    norm("backbone.encoder.LayerNorm")
    for index in range(shape.layers):
        layer = f"backbone.encoder.layer.{index}"
        for part in ("query_proj", "key_proj", "value_proj"):
            linear(f"{layer}.attention.self.{part}", hidden, hidden)
        linear(f"{layer}.attention.output.dense", hidden, hidden)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", intermediate, hidden)
        linear(f"{layer}.output.dense", hidden, intermediate)
        norm(f"{layer}.output.LayerNorm")
    for index, classes in enumerate(TARGETS.values()):
        linear(f"head_{index}.fc", classes, hidden)
    return keys


def _derive_shape(tensors: Mapping[str, torch.Tensor], path: Path) -> ModelShape:
    def matrix(key: str) -> tuple[int, int]:
        if key not in tensors:
            raise LoadError(f"{path} lacks {key}.")
        size = tuple(tensors[key].shape)
        if len(size) != 2 or 0 in size:
            raise LoadError(f"{path} holds {key} of shape {list(size)}, expected a matrix.")
        return size[0], size[1]

    embeddings = "backbone.embeddings.word_embeddings.weight"
    vocab, hidden = matrix(embeddings)
    if hidden % HEAD_SIZE:
        raise LoadError(
            f"{path} holds {embeddings} of width {hidden}, which is no multiple of the head size {HEAD_SIZE}."
        )
    positions = "backbone.encoder.rel_embeddings.weight"
    rows, _ = matrix(positions)
    if rows % 4:  # two directions, and the buckets of each are half linear, half logarithmic
        raise LoadError(f"{path} holds {positions} with {rows} rows, which is no multiple of 4.")
    prefix = "backbone.encoder.layer."
    numbers = (key.removeprefix(prefix).split(".")[0] for key in tensors if key.startswith(prefix))
    layers = max((int(number) + 1 for number in numbers if number.isdecimal()), default=1)
    # A gap in the numbering must name the keys that lack, not build a model of a million layers.
    layers = min(layers, len(tensors))
    intermediate, _ = matrix(f"{prefix}0.intermediate.dense.weight")
    return ModelShape(layers, hidden, hidden // HEAD_SIZE, intermediate, rows // 2, vocab)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(keys: Iterable[str], shown: int = 3) -> str:
    """The first few keys, then how many more: a wrong file can have hundreds."""
    keys = list(keys)
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + more
