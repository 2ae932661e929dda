from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis, in fp64, for logits of any size."""
    powers = np.exp(np.subtract(logits, logits.max(-1, keepdims=True), dtype=np.float64))
    return powers / powers.sum(-1, keepdims=True)
