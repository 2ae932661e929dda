"""A checkpoint's tensors as they are served: linear layers and the embedding in 8 bits, a scale a row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from predictors.gpt2.artifact import QUANTISED, SCALES
from predictors.gpt2.convert.checkpoint import Checkpoint


def served(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Under the published names, but queries, keys and values joined as ``att.qkv``, and without a tied head.

    Matrices that are multiplied are ``NAME.quantised`` [rows, columns] int8 and ``NAME.scales`` [rows, 1].
    Positions are fp16; a classifier's head, biases and norms stay fp32.
    """
    tensors, shape = dict(checkpoint.tensors), checkpoint.shape
    found: dict[str, np.ndarray] = {}
    if checkpoint.tied:
        del tensors["out_head.weight"]
    for layer in range(shape.layers):
        attention = f"trf_blocks.{layer}.att"
        for kind in ("weight", "bias"):
            parts = [tensors.pop(f"{attention}.W_{part}.{kind}") for part in ("query", "key", "value")]
            tensors[f"{attention}.qkv.{kind}"] = np.concatenate(parts)
    for name, tensor in tensors.items():
        if name == "pos_emb.weight":
            found[name] = tensor.astype(np.float16)
        elif tensor.ndim == 2 and not (shape.classifies and name == "out_head.weight"):
            found |= _quantised(name.removesuffix(".weight"), tensor)
        else:
            found[name] = tensor
    return found


def _quantised(name: str, weight: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    scales = np.abs(weight).max(-1, keepdims=True) / 127
    scales[scales == 0] = 1
    yield name + QUANTISED, np.rint(weight / scales).astype(np.int8)
    yield name + SCALES, scales.astype(np.float32)
