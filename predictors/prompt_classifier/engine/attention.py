"""Disentangled attention without gathers.

``score(i, j) = q_i k_j + q_i K(i - j) + k_j Q(i - j)``, the position tables K and Q laid out by distance
(:mod:`.positions`). Row i of ``q K'`` holds query i against every relative position, and the one wanted for
key 0 sits one column further left in each next row. So the wanted [n, n] matrix is a view of the product with
one stride shorter by one; likewise, by columns, for ``k Q'``.

The two position products need no more than rows of queries or keys, so sequences of like length share them.
"""

from __future__ import annotations

from typing import Protocol

import torch

from predictors.prompt_classifier.checkpoint import HEAD_SIZE

from .positions import MAX_LENGTH
from .schedule import round_up
from .workspace import Workspace

_SCRATCH_FLOATS = 1 << 20
"""Room for one position product: beyond it (4 MiB of fp32) heads go in turns, to stay in the caches."""


class Attention(Protocol):
    """Reads the chunk's qkv [t, 3 * hidden], fills its context [t, hidden], for the tokens it stands for."""

    def __call__(self, position_keys: torch.Tensor, position_queries: torch.Tensor) -> None:
        """Both tables [h, 64, 1023]."""
        ...


class Packed:
    """Neighbours in the chunk, of like length and without padding, in fp32; what the CPU uses.

    ``qkv`` and ``context`` are the group's rows of the chunk's buffers. All views are made once and serve
    every layer, since the buffers stay.
    """

    def __init__(
        self, qkv: torch.Tensor, context: torch.Tensor, lengths: list[int], workspace: Workspace
    ) -> None:
        tokens, hidden = context.shape
        h, longest, rows = hidden // HEAD_SIZE, round_up(max(lengths)), round_up(tokens)
        width = 2 * longest - 1
        self._near = slice(MAX_LENGTH - longest, MAX_LENGTH + longest - 1)
        self._packed = qkv.view(tokens, 3, h, HEAD_SIZE).permute(1, 2, 0, 3)
        # The products below copy what is not contiguous; so copy once, for both. What the rows beyond the
        # tokens hold, nobody reads.
        self._rows = workspace.take("attention.rows", 2, h, rows, HEAD_SIZE)
        out = context.view(tokens, h, HEAD_SIZE).transpose(0, 1)
        step = min(h, max(2, _SCRATCH_FLOATS // (rows * width)))
        self._parts = []
        for first in range(0, h, step):
            heads = slice(first, min(first + step, h))
            size = heads.stop - first
            by_query = workspace.take("attention.by_query", size, rows, width)
            by_key = workspace.take("attention.by_key", size, rows, width)
            sequences = []
            end = 0
            for n in lengths:
                some, end = slice(end, end + n), end + n
                q, k, v = self._packed[:, heads, some]
                scores = workspace.take("attention.scores", size, n, n)
                skewed = _skewed(by_query[:, some], by_key[:, some], n)
                sequences.append((q, k.transpose(1, 2), v, *skewed, scores, out[heads, some]))
            self._parts.append((heads, by_query, by_key, sequences))

    def __call__(self, position_keys: torch.Tensor, position_queries: torch.Tensor) -> None:
        self._rows[:, :, : self._packed.shape[2]].copy_(self._packed[:2])
        q_rows, k_rows = self._rows
        for heads, by_query, by_key, sequences in self._parts:
            torch.bmm(q_rows[heads], position_keys[heads, :, self._near], out=by_query)
            torch.bmm(k_rows[heads], position_queries[heads, :, self._near], out=by_key)
            for q, k, v, c2p, p2c, scores, out in sequences:
                torch.add(c2p, p2c, out=scores)
                torch.baddbmm(scores, q, k, out=scores)
                torch.softmax(scores, -1, out=scores)
                torch.bmm(scores, v, out=out)


class Padded:
    """Sequences of like length, padded to the longest: few large products, as a GPU wants them.

    ``lengths`` are of neighbours in the chunk, the first of which begins at row ``start``.
    """

    def __init__(self, qkv: torch.Tensor, context: torch.Tensor, lengths: list[int]) -> None:
        self._qkv = qkv
        n = max(lengths)
        sizes = torch.tensor(lengths, device=qkv.device)
        places = torch.arange(n, device=qkv.device)
        real = places < sizes[:, None]
        begins = sizes.cumsum(0) - sizes
        # A padding row repeats its sequence's first token; the mask hides it as a key, and as a query it is
        # dropped again.
        self._rows = (begins[:, None] + places * real).flatten()
        self._real = real.flatten().nonzero()[:, 0]
        self._mask = None
        if min(lengths) < n:
            # -65504 is fp16's lowest; the minimum of fp32 would become an infinity there.
            self._mask = (~real).to(qkv.dtype).mul(-65504.0)[None, :, None, :]
        self._context = context
        self._count, self._length = len(lengths), n

    def __call__(self, position_keys: torch.Tensor, position_queries: torch.Tensor) -> None:
        g, n = self._count, self._length
        h = position_keys.shape[0]
        near = slice(MAX_LENGTH - n, MAX_LENGTH + n - 1)
        q, k, v = self._qkv[self._rows].view(g * n, 3, h, HEAD_SIZE).permute(1, 2, 0, 3).contiguous()
        by_query = torch.bmm(q, position_keys[:, :, near])
        by_key = torch.bmm(k, position_queries[:, :, near])
        q, k, v = (part.view(h * g, n, HEAD_SIZE) for part in (q, k, v))
        c2p, p2c = _skewed(by_query.view(h * g, n, -1), by_key.view(h * g, n, -1), n)
        scores = torch.baddbmm(c2p + p2c, q, k.transpose(1, 2))
        if self._mask is not None:
            scores.view(h, g, n, n).add_(self._mask)
        shares = torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype)
        context = torch.bmm(shares, v).view(h, g * n, HEAD_SIZE).transpose(0, 1)
        self._context.copy_(context[self._real].flatten(1))


def _skewed(by_query: torch.Tensor, by_key: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The two scores [b, n, n] inside [b, n, 2m - 1] products with the 2m - 1 nearest positions, m >= n."""
    batch, _, width = by_query.shape
    stride = by_query.stride(0)
    middle = width // 2  # the column of distance 0
    return (
        by_query.as_strided((batch, n, n), (stride, width - 1, 1), by_query.storage_offset() + middle),
        by_key.as_strided((batch, n, n), (stride, 1, width - 1), by_key.storage_offset() + middle),
    )
