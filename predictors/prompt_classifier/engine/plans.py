"""The engines by name: what each computes in, and which machine can run it."""

from __future__ import annotations

import torch

from predictors.runtime.errors import LoadError

from . import cpu
from .linears import Int8, Linear, OneDnn, Plain
from .packed import LinearFactory, Plan
from .weights import Affine
from .workspace import Workspace

ENGINES = {
    "auto": "cuda-fp16 with a GPU; else cpu-int8 where the CPU has AVX512-VNNI; else cpu-fp32",
    "cpu-fp32": "exact",
    "cpu-bf16": "bf16 linear layers, the rest fp32; needs AVX512-BF16 or AMX",
    "cpu-int8": "8-bit linear layers, a scale a token and an output, the rest fp32; needs AVX512-VNNI",
    "cuda-fp16": "fp16 with fp32 softmax on an NVIDIA GPU",
}
"""Names of the ``engine`` setting, with what each means."""

GELU_LEAST = -0.17
"""GELU's minimum is -0.16997."""


def choose(name: str, threads: int) -> Plan:
    """The plan of a name in :data:`ENGINES`; :class:`LoadError` where this machine cannot run it."""
    if name == "auto":
        name = "cuda-fp16" if torch.cuda.is_available() else "cpu-int8" if cpu.has_vnni() else "cpu-fp32"
    if name == "cuda-fp16":
        if not torch.cuda.is_available():
            raise LoadError("The engine cuda-fp16 needs an NVIDIA GPU and its driver; torch finds none here.")
        return padded_plan(name, "cuda", torch.float16, threads)
    if name == "cpu-bf16" and not cpu.has_bf16():
        raise LoadError("The engine cpu-bf16 needs a CPU with AVX512-BF16 or AMX; this one has neither.")
    if name == "cpu-int8" and not cpu.has_vnni():
        raise LoadError("The engine cpu-int8 needs a CPU with AVX512-VNNI; this one has it not.")
    dtype, linear = {
        "cpu-fp32": ("float32", _onednn(torch.float32)),
        "cpu-bf16": ("bfloat16", _onednn(torch.bfloat16)),
        "cpu-int8": ("int8", _int8),
    }[name]
    return Plan(
        name,
        "cpu",
        dtype,
        torch.float32,
        linear,
        chunk_tokens=512,
        deal=True,
        padded=False,
        threads=threads,
    )


def padded_plan(name: str, device: str, states: torch.dtype, threads: int) -> Plan:
    """The GPU's plan; with another device and dtype it is what tests without a GPU can run of it."""

    def plain(_: str, affine: Affine, __: Workspace) -> Linear:
        return Plain(Affine(affine.weight.to(device, states), affine.bias.to(device, states)))

    dtype = str(states).removeprefix("torch.")
    return Plan(
        name, device, dtype, states, plain, chunk_tokens=16384, deal=False, padded=True, threads=threads
    )


def _onednn(dtype: torch.dtype) -> LinearFactory:
    def linear(_: str, affine: Affine, __: Workspace) -> Linear:
        return OneDnn(affine, dtype)

    return linear


def _int8(field: str, affine: Affine, workspace: Workspace) -> Linear:
    return Int8(affine, workspace, least=GELU_LEAST if field == "ffn_out" else None)
