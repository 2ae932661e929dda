"""The checkpoint's files, looked at before an engine takes minutes to fail on them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from predictors.runtime.errors import LoadError

CONFIG_NAME, INDEX_NAME, WEIGHTS_NAME = "config.json", "model.safetensors.index.json", "model.safetensors"
ARCHITECTURE = "Gemma2ForCausalLM"


def checksum(folder: Path) -> str:
    """Of config and weights: their names, sizes and headers (which hold every tensor's name and shape).

    Raises LoadError for a folder without a whole Gemma-2 checkpoint. Gigabytes of values are not read twice.
    """
    config = _json(folder / CONFIG_NAME)
    if ARCHITECTURE not in (config.get("architectures") or []):
        raise LoadError(f"{folder / CONFIG_NAME} is not of a {ARCHITECTURE}.")
    if (index := folder / INDEX_NAME).exists():
        names = sorted(set(_json(index).get("weight_map", {}).values()))
    else:
        names = [WEIGHTS_NAME]
    digest = hashlib.sha256((folder / CONFIG_NAME).read_bytes())
    for name in names:
        size, header = _header(folder / name)
        digest.update(f"{name}\0{size}\0".encode() + header)
    return digest.hexdigest()[:16]


def _header(path: Path) -> tuple[int, bytes]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if not 2 <= length <= min(size - 8, 100 << 20):
                raise LoadError(f"{path} is not a safetensors file, or was cut off.")
            header = file.read(length)
            tensors = {k: entry for k, entry in json.loads(header).items() if k != "__metadata__"}
            end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except FileNotFoundError:
        raise LoadError(f"{path} is missing.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadError(f"{path} cannot be read: {type(error).__name__}.") from error
    if size != end:
        raise LoadError(f"{path} was cut off or altered: it has {size} bytes and should have {end}.")
    return size, header


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise LoadError(f"{path} is missing.") from None
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {type(error).__name__}.") from error
    if not isinstance(found, dict):
        raise LoadError(f"{path} is not a JSON object.")
    return found
