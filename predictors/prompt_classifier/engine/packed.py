"""The forward pass over packed sequences: one product a linear layer for all tokens of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from predictors.runtime.dealing import Dealer, worth_dealing

from .attention import Attention, Packed, Padded
from .cpu import onednn_matmul
from .linears import Linear
from .schedule import chunks, like_lengths, round_up
from .weights import EPSILON, Affine, Layer, Norm, Weights
from .workspace import Workspace

LinearFactory = Callable[[str, Affine, Workspace], Linear]
"""Makes a linear layer, given which field of :class:`~.weights.Layer` it is."""


@dataclass(frozen=True)
class Plan:
    """How the forward pass runs on one kind of machine."""

    name: str
    device: str
    dtype: str
    """Of the linear layers, for people to read."""
    states: torch.dtype
    """Of everything between them."""
    linear: LinearFactory
    chunk_tokens: int
    """Tokens that go through the layers together; a longer sequence goes alone."""
    deal: bool
    """Whether the CPU's threads take whole chunks of a batch, rather than a share of every product."""
    padded: bool
    """Whether sequences of like length share one padded attention, as a GPU wants it."""
    threads: int


@dataclass(frozen=True)
class _Layer:
    qkv: Linear
    position_keys: torch.Tensor
    position_queries: torch.Tensor
    attention_out: Linear
    attention_norm: Norm
    ffn_in: Linear
    ffn_width: int
    ffn_out: Linear
    ffn_norm: Norm | None


class PackedEngine:
    """DeBERTa on packed tokens: see :func:`~.weights.prepare` for what is done once, at load."""

    def __init__(self, weights: Weights, plan: Plan) -> None:
        self.name, self.device, self.dtype = plan.name, plan.device, plan.dtype
        self._plan = plan
        self._workspace = Workspace(plan.device)
        self._embeddings = self._placed(weights.embeddings)
        self._hidden = weights.embeddings.shape[1]
        last = len(weights.layers) - 1
        self._layers = [self._ready(layer, final=index == last) for index, layer in enumerate(weights.layers)]
        self._head_weight = weights.heads.weight.to(plan.device)
        self._head_bias = weights.heads.bias.to(plan.device)
        self._dealer: Dealer | None = None
        if plan.deal and plan.threads > 1:
            self._dealer = Dealer(plan.threads, plan.name, partial(_use_threads, 1))

    def logits(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """fp32 [n, 32], row i for sequence i; see :class:`predictors.prompt_classifier.engine.Engine`.

        On the CPU a batch is dealt out: each thread takes whole chunks and meets no barrier. A product shared
        by all threads waits for the slowest, so that one busy neighbour on a core holds up every core.
        """
        lengths = [len(sequence) for sequence in sequences]
        answers = np.empty((len(sequences), len(self._head_bias)), dtype=np.float32)

        def answer(chunk: list[int]) -> None:
            answers[chunk] = self._chunk([sequences[index] for index in chunk])

        with onednn_matmul():
            if self._dealer is not None:
                parts = chunks(lengths, self._plan.chunk_tokens, multiple=self._plan.threads)
                costs = [float(sum(lengths[index] for index in part)) for part in parts]
                if worth_dealing(costs, self._plan.threads):
                    self._dealer.deal(parts, costs, answer)
                    return answers
            _use_threads(self._plan.threads)
            for chunk in chunks(lengths, self._plan.chunk_tokens):
                answer(chunk)
        return answers

    @torch.inference_mode()
    def _chunk(self, sequences: list[np.ndarray]) -> np.ndarray:
        lengths = [len(sequence) for sequence in sequences]
        tokens, take, states = sum(lengths), self._workspace.take, self._plan.states
        ids = np.zeros(round_up(tokens), dtype=np.int64)
        np.concatenate(sequences, out=ids[:tokens])
        qkv = take("qkv", len(ids), 3 * self._hidden, dtype=states)
        context = take("context", len(ids), self._hidden, dtype=states)
        context[tokens:] = 0
        attentions = list(self._attentions(qkv, context, lengths))
        rows = self._embeddings[torch.from_numpy(ids).to(self.device)]
        for layer in self._layers:
            rows = self._forward(layer, rows, qkv, context, attentions)
        pooled = torch.stack([part.mean(0, dtype=torch.float32) for part in rows[:tokens].split(lengths)])
        return functional.linear(pooled, self._head_weight, self._head_bias).cpu().numpy()

    def _forward(
        self,
        layer: _Layer,
        rows: torch.Tensor,
        qkv: torch.Tensor,
        context: torch.Tensor,
        attentions: list[Attention],
    ) -> torch.Tensor:
        layer.qkv(rows, qkv)
        for attend in attentions:
            attend(layer.position_keys, layer.position_queries)
        outer = self._workspace.take("outer", *rows.shape, dtype=rows.dtype)
        layer.attention_out(context, outer)
        rows = self._normalised(outer.add_(rows), layer.attention_norm)
        inner = self._workspace.take("inner", len(rows), layer.ffn_width, dtype=rows.dtype)
        layer.ffn_in(rows, inner)
        torch.ops.aten.gelu.out(inner, approximate="none", out=inner)
        layer.ffn_out(inner, outer)
        return self._normalised(outer.add_(rows), layer.ffn_norm)

    def _attentions(
        self, qkv: torch.Tensor, context: torch.Tensor, lengths: list[int]
    ) -> Iterator[Attention]:
        begin = 0
        for group in like_lengths(lengths, self._plan.padded):
            rows = slice(begin, begin + sum(group))
            if self._plan.padded:
                yield Padded(qkv[rows], context[rows], group)
            else:
                yield Packed(qkv[rows], context[rows], group, self._workspace)
            begin = rows.stop

    def _ready(self, layer: Layer, *, final: bool) -> _Layer:
        def linear(name: str) -> Linear:
            return self._plan.linear(name, getattr(layer, name), self._workspace)

        return _Layer(
            qkv=linear("qkv"),
            position_keys=self._placed(layer.position_keys),
            position_queries=self._placed(layer.position_queries),
            attention_out=linear("attention_out"),
            attention_norm=self._placed_norm(layer.attention_norm),
            ffn_in=linear("ffn_in"),
            ffn_width=len(layer.ffn_in.bias),
            ffn_out=linear("ffn_out"),
            # The heads hold the affine part of the last one.
            ffn_norm=None if final else self._placed_norm(layer.ffn_norm),
        )

    def _normalised(self, rows: torch.Tensor, norm: Norm | None) -> torch.Tensor:
        gain, bias = (norm.gain, norm.bias) if norm else (None, None)
        return functional.layer_norm(rows, (self._hidden,), gain, bias, EPSILON)

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, self._plan.states)

    def _placed_norm(self, norm: Norm) -> Norm:
        return Norm(self._placed(norm.gain), self._placed(norm.bias))


def _use_threads(count: int) -> None:
    """For the calling thread: OpenMP keeps the number by thread."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
