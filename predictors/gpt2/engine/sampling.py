"""Which token comes next: temperature, then the k likeliest, then the fewest of them that make up p."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float
    """0 takes the likeliest token; above it, the higher the more even the choice."""
    top_p: float
    top_k: int
    seed: int | None
    """The same seed draws the same tokens from the same candidates."""

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1


class Sampler:
    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._rng = None if sampling.greedy else np.random.default_rng(sampling.seed)

    def pick(self, logits: np.ndarray) -> int:
        """One of the tokens whose ``logits`` [vocabulary] these are."""
        if self._rng is None:
            return int(logits.argmax())
        sampling = self._sampling
        ids = likeliest(logits, sampling.top_k)
        scaled = logits[ids] / sampling.temperature
        powers = np.exp(scaled - scaled[0])
        sums = np.cumsum(powers)
        # The first place where enough of all is gathered belongs to it, so at least one stays.
        last = min(int(np.searchsorted(sums, sampling.top_p * sums[-1])), len(sums) - 1)
        place = int(np.searchsorted(sums[: last + 1], self._rng.random() * sums[last], side="right"))
        return int(ids[min(place, last)])


def likeliest(logits: np.ndarray, k: int) -> np.ndarray:
    """Where the ``k`` largest stand, largest first."""
    # At least k are no less than the k-th of the groups' maxima. They are few, and only they are sorted.
    groups = min(8 * k, len(logits))
    begins = np.linspace(0, len(logits), groups, endpoint=False, dtype=np.intp)
    bound = (
        np.partition(np.maximum.reduceat(logits, begins), groups - k)[groups - k] if k < groups else -np.inf
    )
    few = np.flatnonzero(logits >= bound)
    return few[np.argsort(-logits[few], kind="stable")[:k]]
