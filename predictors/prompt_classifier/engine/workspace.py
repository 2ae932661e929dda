"""Scratch memory that outlives a call: on virtual machines the first touch of a page is dear."""

from __future__ import annotations

import math
import threading

import torch


class Workspace(threading.local):
    """Named buffers that only grow, a set for each thread. Taking a name again invalidates its content."""

    def __init__(self, device: str) -> None:  # called anew in every thread that uses the object
        self._device = device
        self._buffers: dict[str, torch.Tensor] = {}

    def take(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """An uninitialised, contiguous tensor of that shape."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype:
            buffer = torch.empty(size, dtype=dtype, device=self._device)
            self._buffers[name] = buffer
        return buffer[:size].view(shape)
