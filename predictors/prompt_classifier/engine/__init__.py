"""Forward passes of the classifier behind one interface: token ids in, the logits of the eight heads out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from predictors.prompt_classifier.checkpoint import Checkpoint
from predictors.runtime.errors import LoadError

from .packed import PackedEngine
from .plans import ENGINES, choose
from .weights import prepare

__all__ = ["ENGINES", "Engine", "build_engine"]


class Engine(Protocol):
    """A loaded model. Not thread-safe: all calls come from one thread at a time."""

    name: str
    device: str
    dtype: str

    def logits(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """fp32 [n, 32]: the eight heads in pinned order; row i is sequence i's. Blocking.

        Sequences are 1-D arrays of token ids, [CLS] and [SEP] included, of 1 to 512 tokens, lengths mixed.
        """
        ...


def build_engine(checkpoint: Checkpoint, *, engine: str = "auto", threads: int) -> Engine:
    """The engine of that name, one of :data:`ENGINES`, with ``threads`` CPU threads.

    :class:`LoadError` if there is none of that name or this machine cannot run it. The engine keeps copies of
    what it needs; the checkpoint's tensors may be dropped afterwards.
    """
    if engine not in ENGINES:
        raise LoadError(f"There is no engine {engine!r}; choose one of {', '.join(ENGINES)}.")
    plan = choose(engine, threads)
    return PackedEngine(prepare(checkpoint), plan)
