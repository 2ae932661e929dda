"""The forward pass as an OpenVINO model, made of an artifact's tensors when it is loaded.

One pass takes tokens of any number of sequences laid end to end: whole prompts, parts of prompts and single
next tokens alike. Inputs, int32 but for the first:

- ``embedded`` [tokens, hidden] fp32
- ``past_lens`` [sequences]: tokens of each that the cache has
- ``subsequence_begins`` [sequences + 1]: where each one's tokens begin
- ``last`` [sequences]: where each one's last token is
- ``block_indices``: the cache's blocks that each one has
- ``block_indices_begins`` [sequences + 1]: where in these each one's begin
- ``max_context_len`` []: the longest, with its new tokens
- per layer ``key_cache.i`` and ``value_cache.i`` [blocks, heads, tokens a block, 64], extended in place

Output: the logits after each sequence's last token [sequences, outputs].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops
from openvino.op import _PagedAttentionExtension as PagedAttention  # pyright: ignore[reportAttributeAccessIssue]

from predictors.gpt2.artifact import QUANTISED, SCALES
from predictors.gpt2.engine.tensors import Tensors
from predictors.gpt2.shape import HEAD_SIZE, ModelShape

Node = Any
"""An openvino.Node or one of its outputs: its operators take either."""

WHERE = ("past_lens", "subsequence_begins", "block_indices", "block_indices_begins", "max_context_len")
"""What attention is told of the sequences."""


def build(tensors: Tensors, shape: ModelShape) -> openvino.Model:
    """Raises LoadError when a tensor is missing."""
    return _Graph(tensors, shape).build()


class _Graph:
    def __init__(self, tensors: Tensors, shape: ModelShape) -> None:
        self._tensors, self._shape = tensors, shape
        self._inputs: list[Node] = []

    def build(self) -> openvino.Model:
        residual = self._input("embedded", [-1, self._shape.hidden], np.float32)
        where = {
            name: self._input(name, [] if name == "max_context_len" else [-1], np.int32) for name in WHERE
        }
        for layer in range(self._shape.layers):
            residual = self._block(layer, residual, where)
        last = ops.gather(residual, self._input("last", [-1], np.int32), _integers(0))
        logits = self._head(self._norm("final_norm", last))
        return openvino.Model([ops.result(logits)], self._inputs, "gpt2")  # pyright: ignore[reportGeneralTypeIssues]

    def _block(self, layer: int, residual: Node, where: dict[str, Node]) -> Node:
        name = f"trf_blocks.{layer}"
        mixed = self._linear(f"{name}.att.qkv", self._norm(f"{name}.norm1", residual))
        caches = [
            self._input(f"{kind}_cache.{layer}", [-1] * 4, openvino.Type.dynamic) for kind in ("key", "value")
        ]
        attended = self._attend(ops.split(mixed, _integers(1), 3).outputs(), caches, where)
        residual = ops.add(residual, self._linear(f"{name}.att.out_proj", attended))
        inner = self._linear(f"{name}.ff.layers.0", self._norm(f"{name}.norm2", residual))
        return ops.add(residual, self._linear(f"{name}.ff.layers.2", ops.gelu(inner, "tanh")))

    def _attend(self, mixed: Sequence[Node], caches: Sequence[Node], where: dict[str, Node]) -> Node:
        none, off = _integers([]), _integers(0)
        no_floats, no_bytes = (ops.constant(np.zeros(0, kind)) for kind in (np.float32, np.uint8))
        past, begins, blocks, block_begins, longest = (where[name] for name in WHERE)
        inputs = [*mixed, *caches, past, begins, blocks, block_begins]
        inputs += [ops.constant(np.float32(HEAD_SIZE**-0.5)), off, no_floats]  # no sliding window, no ALiBi
        inputs += [longest, none]  # no scores told
        inputs += [none, none, no_floats]  # no rotation of the cache
        inputs += [no_floats, off, off]  # no sparse attention
        inputs += [ops.constant(np.zeros((0, 0, 0, 0), np.float32))]  # no sinks
        inputs += [off, none, none, none]  # nothing let go from the cache
        inputs += [none, no_bytes, none]  # no kinds of tokens, no mask but the causal one
        node = PagedAttention(
            [each if isinstance(each, openvino.Output) else each.output(0) for each in inputs]
        )
        for part in "kv":
            node.get_rt_info()[f"{part}_head_size"] = HEAD_SIZE
            node.get_rt_info()[f"num_{part}_heads"] = self._shape.heads
        return node.output(0)

    def _head(self, normed: Node) -> Node:
        if self._shape.classifies:
            return ops.add(
                ops.matmul(normed, self._constant("out_head.weight"), False, True),
                self._constant("out_head.bias"),
            )
        tied = f"out_head{QUANTISED}" not in self._tensors
        return self._product("tok_emb" if tied else "out_head", normed)

    # -- parts of layers

    def _linear(self, name: str, x: Node) -> Node:
        return ops.add(self._product(name, x), self._constant(f"{name}.bias"))

    def _product(self, name: str, x: Node) -> Node:
        weights = ops.multiply(
            ops.convert(self._constant(name + QUANTISED), np.float32), self._constant(name + SCALES)
        )
        return ops.matmul(x, ops.reshape(weights, _integers([0, -1]), True), False, True)

    def _norm(self, name: str, x: Node) -> Node:
        normed = ops.mvn(x, _integers([-1]), True, 1e-5, "inside_sqrt")
        return ops.add(ops.multiply(normed, self._constant(f"{name}.scale")), self._constant(f"{name}.shift"))

    def _constant(self, name: str) -> Node:
        return ops.constant(self._tensors[name], shared_memory=True)

    def _input(self, name: str, size: Sequence[int], kind: Any) -> Node:
        node = ops.parameter(size, kind, name=name)
        node.output(0).set_names({name})
        self._inputs.append(node)
        return node


def _integers(values: int | Sequence[int]) -> Node:
    return ops.constant(np.array(values, np.int32))
