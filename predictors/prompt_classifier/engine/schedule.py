"""Which sequences go through the layers together; plain arithmetic on lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_SHAPE_STEP = 16
"""Products have multiples of it as rows and as longest lengths. oneDNN makes a kernel for each shape it
meets, in up to milliseconds, and batches of mixed lengths have other shapes each time."""


def chunks(lengths: Sequence[int], most: int, multiple: int = 1) -> list[list[int]]:
    """Indices of ``lengths`` by ascending length, cut into about equally many tokens, at most ``most``.

    A longer sequence goes alone. Aims at a ``multiple`` of so many chunks, to deal out among threads.
    """
    total = sum(lengths)
    count = -(-total // (most * multiple)) * multiple
    parts: list[list[int]] = []
    taken = tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # A chunk ends where half of the next sequence would be beyond its share of the total so far.
        due = (2 * taken + lengths[index]) * count >= 2 * total * len(parts)
        if due or tokens + lengths[index] > most:
            parts.append([])
            tokens = 0
        parts[-1].append(index)
        tokens += lengths[index]
        taken += lengths[index]
    return parts


def like_lengths(lengths: Sequence[int], padded: bool) -> Iterator[list[int]]:
    """Cuts ascending lengths into runs whose attention shares products.

    Padded runs round up to the same multiple of 16. Packed ones differ by a quarter at most: the shorter
    compute relative positions they do not have.
    """
    group: list[int] = []
    for length in lengths:
        if group and (
            -(-length // 16) > -(-group[0] // 16) if padded else length > group[0] + max(8, group[0] // 4)
        ):
            yield group
            group = []
        group.append(length)
    if group:
        yield group


def round_up(size: int) -> int:
    """``size`` as it stands in the shape of a product."""
    return -(-size // _SHAPE_STEP) * _SHAPE_STEP
