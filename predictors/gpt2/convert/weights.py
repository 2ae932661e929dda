"""A checkpoint's tensors as they are served: linear layers and the embedding in 8 bits, a scale a block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from predictors.gpt2.artifact import QUANTISED, SCALES
from predictors.gpt2.convert.checkpoint import Checkpoint


def served(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Under the published names, but queries, keys and values joined as ``att.qkv``, and without a tied head.

    A matrix that is multiplied is ``NAME.quantised`` [rows, blocks, block] int8 and ``NAME.scales``
    [rows, blocks, 1] fp32. Positions are fp16; a classifier's head, biases and norms stay fp32.
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
            found |= _quantised(name.removesuffix(".weight"), tensor, block_size(shape.hidden))
        else:
            found[name] = tensor
    return found


def block_size(hidden: int) -> int:
    """Weights that share one scale. More are faster to multiply, fewer are closer to what they stand for."""
    return next(size for size in (256, 128, 64) if hidden % size == 0)


def _quantised(name: str, weight: np.ndarray, block: int) -> Iterator[tuple[str, np.ndarray]]:
    blocks = weight.reshape(len(weight), -1, block)
    scales = np.abs(blocks).max(-1, keepdims=True) / 127
    scales[scales == 0] = 1
    yield name + QUANTISED, np.rint(blocks / scales).astype(np.int8)
    yield name + SCALES, scales.astype(np.float32)
