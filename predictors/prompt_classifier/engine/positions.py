"""Relative positions of DeBERTa: the log buckets, and tables laid out by distance instead of by bucket."""

from __future__ import annotations

import math

import torch

MAX_LENGTH = 512
"""Tokens in the longest sequence; also ``max_position_embeddings`` of every DeBERTa-v3."""


def bucket(distance: int, buckets: int, max_position: int = MAX_LENGTH) -> int:
    """The bucket of a signed distance, in ``-buckets .. buckets - 1`` once clamped.

    Up to ``buckets / 2`` a bucket is the distance itself; beyond, buckets grow as its logarithm
    (He et al. 2021, arXiv 2006.03654, as DeBERTa-v2's ``make_log_bucket_position`` has it).
    """
    middle, size = buckets // 2, abs(distance)
    if size <= middle:
        return distance
    span = math.log((max_position - 1) / middle)
    return int(math.copysign(math.ceil(math.log(size / middle) / span * (middle - 1)) + middle, distance))


def rows_by_distance(buckets: int) -> torch.Tensor:
    """Row of the ``2 * buckets`` relative embeddings for each distance ``-511 .. 511``; int64 [1023].

    Laid out by distance, neighbours in the table are neighbours in the sentence. The scores of a whole
    sentence against its relative positions are then one product, and the gather that puts them at
    (query, key) becomes a strided view; see :mod:`.attention`.
    """
    distances = range(1 - MAX_LENGTH, MAX_LENGTH)
    rows = [min(max(bucket(distance, buckets) + buckets, 0), 2 * buckets - 1) for distance in distances]
    return torch.tensor(rows, dtype=torch.int64)
