"""GPT-2 in ONNX Runtime as commonly served: past keys and values as inputs and outputs, dynamic int8.

The loop in numpy takes the presents of a step for the pasts of the next.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2LMHeadModel


class _WithPast(nn.Module):
    """The model's own weights with keys and values [B, heads, past, 64] handed in and out."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        body: Any = self.model.transformer
        heads = self.model.config.n_head
        before, length = past[0].shape[2], ids.shape[1]
        x = body.wte(ids) + body.wpe(torch.arange(before, before + length))
        places = torch.arange(before + length)
        hidden_from = places[None, :] > places[before:, None]
        presents: list[Tensor] = []
        for layer, block in enumerate(body.h):
            mixed = _linear(block.attn.c_attn, block.ln_1(x))
            query, key, value = (
                part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in mixed.chunk(3, dim=-1)
            )
            key = torch.cat([past[2 * layer], key], dim=2)
            value = torch.cat([past[2 * layer + 1], value], dim=2)
            presents += [key, value]
            scores = (query @ key.transpose(2, 3) / 8.0).masked_fill(hidden_from, -1e9)
            attended = (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)
            x = x + _linear(block.attn.c_proj, attended)
            inner = functional.gelu(_linear(block.mlp.c_fc, block.ln_2(x)), approximate="tanh")
            x = x + _linear(block.mlp.c_proj, inner)
        # Of the last token alone: many exports compute all of them.
        logits = body.ln_f(x[:, -1]) @ self.model.lm_head.weight.T
        return logits, *presents


def _linear(layer: Any, x: Tensor) -> Tensor:
    return x @ layer.weight + layer.bias


class Loop:
    def __init__(self, model: GPT2LMHeadModel, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        file = _quantised(model, folder)
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._config = model.config

    def generate(self, ids: np.ndarray, new: int) -> np.ndarray:
        """``new`` tokens, greedily, after ``ids`` [streams, length]."""
        config, streams = self._config, len(ids)
        empty = np.zeros((streams, config.n_head, 0, config.n_embd // config.n_head), np.float32)
        past = [empty] * (2 * config.n_layer)
        found = []
        for _ in range(new):
            names = {f"past.{index}": tensor for index, tensor in enumerate(past)}
            logits, *past = self._session.run(None, {"ids": ids, **names})
            ids = np.asarray(logits).argmax(-1)[:, None]
            found.append(ids[:, 0])
        return np.stack(found, axis=1)


def _quantised(model: GPT2LMHeadModel, folder: Path) -> Path:
    plain, quantised = folder / "past.onnx", folder / "past-int8.onnx"
    if quantised.exists():
        return quantised
    config = model.config
    count = 2 * config.n_layer
    past = [torch.zeros(2, config.n_head, 5, config.n_embd // config.n_head) for _ in range(count)]
    names = [f"past.{index}" for index in range(count)]
    presents = [f"present.{index}" for index in range(count)]
    axes = {"ids": {0: "batch", 1: "length"}, "logits": {0: "batch"}}
    axes |= {name: {0: "batch", 2: "past"} for name in names}
    axes |= {name: {0: "batch", 2: "total"} for name in presents}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about sizes that are constants here
        torch.onnx.export(
            _WithPast(model),
            (torch.zeros(2, 3, dtype=torch.long), *past),
            str(plain),
            input_names=["ids", *names],
            output_names=["logits", *presents],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    partial = quantised.with_suffix(".partial")
    quantize_dynamic(plain, partial, weight_type=QuantType.QInt8)
    partial.rename(quantised)
    plain.unlink()
    return quantised
