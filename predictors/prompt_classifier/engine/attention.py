"""Disentangled attention without gathers, for one sequence or for a padded group of them.

``score(i, j) = q_i k_j + q_i K(i - j) + k_j Q(i - j)``, the position tables K and Q laid out by distance
(:mod:`.positions`). Row i of ``q K'`` holds query i against every relative position, and the one wanted for
key 0 sits one column further left in each next row. So the wanted [n, n] matrix is a view of the product
[n, 2n - 1] with one stride shorter by one; likewise, by columns, for ``k Q'``.
"""

from __future__ import annotations

from typing import Protocol

import torch

from predictors.prompt_classifier.checkpoint import HEAD_SIZE

from .positions import MAX_LENGTH
from .workspace import Workspace

_SCRATCH_FLOATS = 1 << 19
"""Scores of one pass over some heads: 2 MiB of fp32, so that they stay in the cores' own caches."""


class Attention(Protocol):
    """Reads the chunk's qkv [t, 3 * hidden], fills its context [t, hidden], for the tokens it stands for."""

    def __call__(self, position_keys: torch.Tensor, position_queries: torch.Tensor) -> None:
        """Both tables [h, 64, 1023]."""
        ...


class Alone:
    """One sequence, in fp32. All views are made once and serve every layer, since the buffers stay."""

    def __init__(self, qkv: torch.Tensor, context: torch.Tensor, workspace: Workspace) -> None:
        n, hidden = context.shape
        h = hidden // HEAD_SIZE
        width = 2 * n - 1
        q, k, v = qkv.view(n, 3, h, HEAD_SIZE).permute(1, 2, 0, 3)
        out = context.view(n, h, HEAD_SIZE).transpose(0, 1)
        step = min(h, max(2, _SCRATCH_FLOATS // (n * width)))
        self._near = slice(MAX_LENGTH - n, MAX_LENGTH + n - 1)
        self._parts = []
        for first in range(0, h, step):
            some = slice(first, min(first + step, h))
            size = some.stop - first
            by_query = workspace.take("attention.by_query", size, n, width)
            by_key = workspace.take("attention.by_key", size, n, width)
            scores = workspace.take("attention.scores", size, n, n)
            skewed = _skewed(by_query, by_key, n)
            self._parts.append(
                (some, q[some], k[some], v[some], out[some], by_query, by_key, *skewed, scores)
            )

    def __call__(self, position_keys: torch.Tensor, position_queries: torch.Tensor) -> None:
        for some, q, k, v, out, by_query, by_key, c2p, p2c, scores in self._parts:
            torch.bmm(q, position_keys[some, :, self._near], out=by_query)
            torch.bmm(k, position_queries[some, :, self._near], out=by_key)
            torch.add(c2p, p2c, out=scores)
            torch.baddbmm(scores, q, k.transpose(1, 2), out=scores)
            torch.softmax(scores, -1, out=scores)
            torch.bmm(scores, v, out=out)


class Padded:
    """Sequences of like length, padded to the longest: few large products, as a GPU wants them.

    ``lengths`` are of neighbours in the chunk, the first of which begins at row ``start``.
    """

    def __init__(self, qkv: torch.Tensor, context: torch.Tensor, start: int, lengths: list[int]) -> None:
        self._qkv = qkv
        n = max(lengths)
        sizes = torch.tensor(lengths, device=qkv.device)
        places = torch.arange(n, device=qkv.device)
        real = places < sizes[:, None]
        begins = start + sizes.cumsum(0) - sizes
        # A padding row repeats its sequence's first token; the mask hides it as a key, and as a query it is
        # dropped again.
        self._rows = (begins[:, None] + places * real).flatten()
        self._real = real.flatten().nonzero()[:, 0]
        self._mask = None
        if min(lengths) < n:
            # -65504 is fp16's lowest; the minimum of fp32 would become an infinity there.
            self._mask = (~real).to(qkv.dtype).mul(-65504.0)[None, :, None, :]
        self._context = context[start : start + sum(lengths)]
        self._count, self._length = len(lengths), n

    def __call__(self, position_keys: torch.Tensor, position_queries: torch.Tensor) -> None:
        g, n = self._count, self._length
        h = position_keys.shape[0]
        near = slice(MAX_LENGTH - n, MAX_LENGTH + n - 1)
        q, k, v = self._qkv[self._rows].view(g * n, 3, h, HEAD_SIZE).permute(1, 2, 0, 3).contiguous()
        by_query = torch.bmm(q, position_keys[:, :, near])
        by_key = torch.bmm(k, position_queries[:, :, near])
        q, k, v = (part.view(h * g, n, HEAD_SIZE) for part in (q, k, v))
        c2p, p2c = _skewed(by_query, by_key, n)
        scores = torch.baddbmm(c2p + p2c, q, k.transpose(1, 2))
        if self._mask is not None:
            scores.view(h, g, n, n).add_(self._mask)
        shares = torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype)
        context = torch.bmm(shares, v).view(h, g * n, HEAD_SIZE).transpose(0, 1)
        self._context.copy_(context[self._real].flatten(1))


def _skewed(by_query: torch.Tensor, by_key: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The [b, n, n] scores inside two contiguous products of b * n rows by 2n - 1 columns."""
    width = 2 * n - 1
    batch = by_query.numel() // (n * width)
    return (
        by_query.as_strided((batch, n, n), (n * width, width - 1, 1), n - 1),
        by_key.as_strided((batch, n, n), (n * width, 1, width - 1), n - 1),
    )
