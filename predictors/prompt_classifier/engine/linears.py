"""Linear layers, one class a number format: rows in, ``out`` filled.

The products run in oneDNN on the CPU. Its packed kernels reach 2.3 times the fp32 rate of torch's default
(MKL) on AMD's AVX-512 cores, 4.5 times in bf16, 9 times in int8 (benchmarks/results has the figures).
"""

from __future__ import annotations

from typing import Protocol

import torch

from .weights import Affine
from .workspace import Workspace


class Linear(Protocol):
    """``out[t] = weight rows[t] + bias`` for rows [t, in] and a contiguous out [t, out]."""

    def __call__(self, rows: torch.Tensor, out: torch.Tensor) -> None: ...


class Plain:
    """The device's own product in the dtype of the weights; what CUDA uses."""

    def __init__(self, affine: Affine) -> None:
        self._weight, self._bias = affine.weight.t(), affine.bias

    def __call__(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        torch.addmm(self._bias, rows, self._weight, out=out)


class OneDnn:
    """oneDNN's product with weights packed once, in ``dtype``; rows and out stay fp32."""

    def __init__(self, affine: Affine, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._weight = torch.ops.mkldnn._reorder_linear_weight(affine.weight.to(dtype))
        self._bias = affine.bias.to(dtype)

    def __call__(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(
            torch.ops.mkldnn._linear_pointwise(rows.to(self._dtype), self._weight, self._bias, "none", [], "")
        )


class Int8:
    """8-bit weights, a scale an output channel; 8-bit activations, a scale a row.

    A row is scaled by its own largest value, so a token's result does not depend on its neighbours: what a
    prompt gets alone it gets in any batch.

    With ``least`` the values are known to be no smaller (GELU never falls below -0.17), and the row is mapped
    from ``least .. max`` to 0..255 instead of from ``-max .. max``: twice the resolution. What the offset
    adds to every product is the same for all rows and sits in the bias.
    """

    # Adding 1.5 * 2**23 leaves the integer nearest to a float in the low bits of its mantissa: one pass
    # rounds, and the low byte is the quantised value.
    _ROUND = 12582912.0
    _ZERO = 128

    def __init__(self, affine: Affine, workspace: Workspace, *, least: float | None = None) -> None:
        self._scales = affine.weight.abs().amax(1).clamp_(min=torch.finfo(torch.float32).tiny).div_(127)
        weight = (affine.weight / self._scales[:, None]).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(weight, None)
        self._no_zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._workspace = workspace
        self._least = least
        self._bias = affine.bias
        if least is not None:
            self._bias = affine.bias + least * self._scales * weight.sum(1, dtype=torch.int32)

    def __call__(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        values, scales = self._quantise(rows)
        products = torch.ops.onednn.qlinear_pointwise(
            values, 1.0, self._ZERO if self._least is None else 0, self._weight, self._scales, self._no_zeros,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        torch.addcmul(self._bias, products, scales, out=out)

    def _quantise(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [t, in] and the scale of each row, [t, 1]. Changes ``rows`` if ``least`` was given."""
        scaled = self._workspace.take("int8.scaled", *rows.shape)
        values = self._workspace.take("int8.values", *rows.shape, dtype=torch.uint8)
        largest = rows.amax(1, keepdim=True)
        if self._least is None:
            scales = torch.maximum(largest, rows.amin(1, keepdim=True).neg_()).div_(127)
        else:
            rows.sub_(self._least)
            scales = largest.clamp_(min=0).sub_(self._least).div_(255)
        # An all-zero row has no scale; any will do.
        scales.clamp_(min=torch.finfo(torch.float32).tiny)
        torch.mul(rows, scales.reciprocal(), out=scaled)
        scaled.add_(self._ROUND + (self._ZERO if self._least is None else 0))
        values.copy_(scaled.view(torch.int32))
        return values, scales
