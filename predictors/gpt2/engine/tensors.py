"""A .safetensors file as arrays over the file itself: nothing is copied, and memory can be given back."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from predictors.runtime.errors import LoadError

_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8}


def write(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """The same file, of arrays of these types. Raises OSError."""
    names = {np.dtype(kind): name for name, kind in _TYPES.items()}
    header: dict[str, object] = {}
    end = 0
    for name, array in tensors.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": names[array.dtype],
            "shape": array.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers begin where they should
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).data)


class Tensors:
    def __init__(self, path: Path) -> None:
        """Raises LoadError when ``path`` is no such file, or holds other types."""
        try:
            with path.open("rb") as file:
                # Of one's own, and never written to: OpenVINO takes no constant that is read-only.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            start = 8 + int.from_bytes(self._map[:8], "little")
            header = json.loads(self._map[8:start])
            self._arrays = {
                name: np.frombuffer(
                    self._map,
                    _TYPES[entry["dtype"]],
                    int(np.prod(entry["shape"])),
                    start + entry["data_offsets"][0],
                ).reshape(entry["shape"])
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (OSError, ValueError, KeyError) as error:
            raise LoadError(f"{path} is not a file of tensors this engine reads: {error}.") from None

    def __getitem__(self, name: str) -> np.ndarray:
        """Raises LoadError when the file has no such tensor."""
        if name not in self._arrays:
            raise LoadError(f"The artifact's weights lack {name}.")
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def release(self) -> None:
        """Gives the memory of all that was read back; what is read again comes from the file again."""
        self._map.madvise(mmap.MADV_DONTNEED)
