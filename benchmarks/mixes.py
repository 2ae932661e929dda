"""What encoders are raced on, and how their peers cut it into batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Sequences = Sequence[np.ndarray]

_SEED = 0


def natural_mix(count: int, vocabulary: int) -> list[np.ndarray]:
    """Prompts with log-normal lengths: mean 65 tokens, at most 200."""
    sigma = 0.55
    lengths = np.random.default_rng(_SEED).lognormal(np.log(65) - sigma**2 / 2, sigma, count)
    return prompts([int(length) for length in lengths.round().clip(4, 200)], vocabulary, _SEED)


def prompts(lengths: Sequence[int], vocabulary: int, seed: int) -> list[np.ndarray]:
    """Token ids, int64, between a first and a last special."""
    random = np.random.default_rng(seed)
    return [np.r_[1, random.integers(4, vocabulary, length - 2), 2] for length in lengths]


def arrival_batches(lengths: list[int], size: int = 16) -> list[list[int]]:
    """Indices as they come, ``size`` at a time."""
    return [list(range(first, min(first + size, len(lengths)))) for first in range(0, len(lengths), size)]


def budget_batches(lengths: list[int], budget: int = 1024) -> list[list[int]]:
    """Indices sorted by length, at most ``budget`` padded tokens a batch."""
    batches: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches[-1] and lengths[index] * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(index)
    return batches
