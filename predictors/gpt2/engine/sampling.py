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
        self.greedy = sampling.greedy
        self._sampling = sampling
        self._rng = None if self.greedy else np.random.default_rng(sampling.seed)

    def pick(self, logits: np.ndarray, ids: np.ndarray) -> int:
        """One of ``ids``, whose ``logits`` come in falling order."""
        if self._rng is None:
            return int(ids[0])
        sampling = self._sampling
        scaled = logits[: sampling.top_k] / sampling.temperature
        powers = np.exp(scaled - scaled[0])
        sums = np.cumsum(powers)
        # The first place where enough of all is gathered belongs to it, so at least one stays.
        last = min(int(np.searchsorted(sums, sampling.top_p * sums[-1])), len(sums) - 1)
        place = int(np.searchsorted(sums[: last + 1], self._rng.random() * sums[last], side="right"))
        return int(ids[min(place, last)])
