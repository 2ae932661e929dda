"""What this processor can do, and how to make torch use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


def has_vnni() -> bool:
    """Whether the CPU multiplies 8-bit numbers four at a time. Without it, AVX2's substitute can saturate."""
    return _capable("avx512_vnni")


def has_bf16() -> bool:
    """Whether the CPU multiplies bf16 natively."""
    return _capable("avx512_bf16") or _capable("amx_bf16")


def _capable(flag: str) -> bool:
    return bool(torch.cpu.get_capabilities().get(flag, False))


@contextmanager
def onednn_matmul() -> Iterator[None]:
    """Batched fp32 products by oneDNN rather than MKL, which on AMD runs at half the rate or less.

    torch takes oneDNN for them only where it is told that bf16 would do. oneDNN then still computes in fp32
    unless the CPU has AMX: :func:`_stays_fp32` tries it, and where it would round, all stays as it was.
    """
    if _stays_fp32():
        with _allow_bf16():
            yield
    else:
        yield


@cache
def _stays_fp32() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(2, 160, 160, generator=generator) for _ in range(2))
    with _allow_bf16():
        product = torch.bmm(left, right)
    return bool((product - torch.bmm(left.double(), right.double())).abs().max() < 1e-4)


@contextmanager
def _allow_bf16() -> Iterator[None]:
    matmul = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue] - set at run time
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before
