"""The forward pass over packed sequences: no padding, no masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from predictors.prompt_classifier.checkpoint import HEAD_SIZE, Checkpoint

from .positions import MAX_LENGTH
from .weights import EPSILON, Layer, Norm, prepare


class PackedEngine:
    """DeBERTa on packed tokens in fp32: every linear layer is one product over all tokens of a chunk."""

    name = "torch-fp32"
    device = "cpu"
    dtype = "float32"

    def __init__(self, checkpoint: Checkpoint, *, threads: int, chunk_tokens: int = 2048) -> None:
        self._weights = prepare(checkpoint)
        self._hidden = checkpoint.shape.hidden
        self._heads = checkpoint.shape.heads
        self._threads = threads
        self._chunk_tokens = chunk_tokens

    @torch.inference_mode()
    def logits(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Logits [n, 32] in fp32; row i belongs to sequence i."""
        torch.set_num_threads(self._threads)
        answers = np.empty((len(sequences), self._weights.heads.bias.numel()), dtype=np.float32)
        chunk: list[int] = []
        tokens = 0
        for index, sequence in enumerate(sequences):
            if chunk and tokens + len(sequence) > self._chunk_tokens:
                answers[chunk] = self._chunk([sequences[i] for i in chunk])
                chunk, tokens = [], 0
            chunk.append(index)
            tokens += len(sequence)
        if chunk:
            answers[chunk] = self._chunk([sequences[i] for i in chunk])
        return answers

    def _chunk(self, sequences: list[np.ndarray]) -> np.ndarray:
        lengths = [len(sequence) for sequence in sequences]
        ids = torch.from_numpy(np.concatenate(sequences).astype(np.int64))
        states = self._weights.embeddings[ids]
        last = len(self._weights.layers) - 1
        for index, layer in enumerate(self._weights.layers):
            states = self._layer(layer, states, lengths, affine=index < last)
        pooled = torch.stack([part.mean(0) for part in states.split(lengths)])
        return functional.linear(pooled, self._weights.heads.weight, self._weights.heads.bias).numpy()

    def _layer(self, layer: Layer, states: torch.Tensor, lengths: list[int], *, affine: bool) -> torch.Tensor:
        qkv = functional.linear(states, layer.qkv.weight, layer.qkv.bias)
        context = torch.cat([self._attend(layer, part) for part in qkv.split(lengths)])
        attended = functional.linear(context, layer.attention_out.weight, layer.attention_out.bias)
        states = self._norm(attended.add_(states), layer.attention_norm)
        inner = functional.gelu(functional.linear(states, layer.ffn_in.weight, layer.ffn_in.bias))
        outer = functional.linear(inner, layer.ffn_out.weight, layer.ffn_out.bias)
        return self._norm(outer.add_(states), layer.ffn_norm if affine else None)

    def _norm(self, rows: torch.Tensor, norm: Norm | None) -> torch.Tensor:
        gain, bias = (norm.gain, norm.bias) if norm else (None, None)
        return functional.layer_norm(rows, (self._hidden,), gain, bias, EPSILON)

    def _attend(self, layer: Layer, qkv: torch.Tensor) -> torch.Tensor:
        """Disentangled attention of one sequence: [n, 3 * hidden] to [n, hidden].

        ``score(i, j) = q_i k_j + q_i K(i - j) + k_j Q(i - j)`` with the position tables K and Q. Each row of
        ``q K'`` holds all relative positions of one query, and the wanted ones sit one column further left
        in each next row: a view with one stride less by one. Likewise for ``k Q'``, by columns.
        """
        n, h = len(qkv), self._heads
        q, k, v = qkv.view(n, 3, h, HEAD_SIZE).permute(1, 2, 0, 3)
        near = slice(MAX_LENGTH - n, MAX_LENGTH + n - 1)
        width = 2 * n - 1
        by_query = torch.bmm(q, layer.position_keys[:, near].transpose(1, 2))
        by_key = torch.bmm(k, layer.position_queries[:, near].transpose(1, 2))
        scores = torch.as_strided(by_query, (h, n, n), (n * width, width - 1, 1), n - 1) + torch.as_strided(
            by_key, (h, n, n), (n * width, 1, width - 1), n - 1
        )
        scores.baddbmm_(q, k.transpose(1, 2))
        return torch.bmm(scores.softmax(-1), v).transpose(0, 1).reshape(n, self._hidden)
