"""The ONNX file as an OpenVINO model whose linear layers are 8-bit products.

A dynamically quantised file says what is put into 8 bits and where: DynamicQuantizeLinear, then MatMulInteger
or com.microsoft's MatMulIntegerToFloat. OpenVINO's own reading of these is right, but its products are then
fp32. Here activations are divided by their token's reach (the greatest of their absolute values) and put into
8 bits between -1 and 1, a range known beforehand. So the products are of integers, and what shares a pass
with a text does not change how its activations are scaled.
"""

from __future__ import annotations

import bisect
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino
from openvino import opset13 as ops
from openvino.frontend import NodeContext
from openvino.frontend.onnx import ConversionExtension

logger = logging.getLogger(__name__)

Node = Any
"""An openvino.Node or one of its outputs: its operators take either."""

INPUTS = ("input_ids", "attention_mask")

_MOST_TOKENS = 1 << 15
_LEVELS, _LOWEST, _HIGHEST = 256, -128 / 127, 1.0
_MASKED = -1e4
"""Added to the scores that attention gives to padding."""


class Read(NamedTuple):
    model: openvino.Model
    integers: bool
    """Whether its linear layers are products of integers."""


def read(file: Path, *, integers: bool) -> Read:
    """Raises RuntimeError when ``file`` is not a graph that OpenVINO reads.

    Without ``integers`` activations stay as they are, and the products of the same weights are of floats. A
    file that quantises in another way is read as OpenVINO does: as right, and slower.
    """
    core, reading = openvino.Core(), _Reading(integers)
    core.add_extension(ConversionExtension("DynamicQuantizeLinear", reading.quantise))
    core.add_extension(ConversionExtension("MatMulInteger", _multiply))
    core.add_extension(ConversionExtension("MatMulIntegerToFloat", "com.microsoft", _multiply_and_scale))
    core.add_extension(ConversionExtension("MultiHeadAttention", "com.microsoft", _attend))
    try:
        model = core.read_model(file)
        if reading.meant_for_products:
            return Read(model, reading.integers)
        why = "it quantises what is no factor of a linear layer"
    except RuntimeError as error:
        why = " ".join(str(error).split())  # all of it: which line says what depends on the version
    plain = openvino.Core().read_model(file)  # says itself what is wrong with a file that is no graph
    logger.warning("%s is read without products of integers, which takes longer: %s.", file, why)
    return Read(plain, integers=False)


def reason(error: RuntimeError) -> str:
    """The last line of what OpenVINO says: above it stand places in its own sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")


def multiplies_integers() -> bool:
    """Whether the processor adds products of 8 bits up in 32 (VNNI); older ones do in 16, and overflow."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags


def longest(model: openvino.Model) -> int:
    """Most tokens that its input [batch, length] may have, which OpenVINO does not ask when it runs."""

    def too_long(length: int) -> bool:
        try:
            model.clone().reshape({entry: [1, length] for entry in INPUTS})
        except RuntimeError:
            return True
        return False

    return bisect.bisect_left(range(1, _MOST_TOKENS), True, key=too_long)


def vocabulary(model: openvino.Model) -> int | None:
    """Rows of the table that token ids are looked up in; None when the graph does otherwise."""
    users = (target.get_node() for target in model.input(INPUTS[0]).get_target_inputs())
    tables = [user.input_value(0) for user in users if user.get_type_name() == "Gather"]
    return min((table.get_partial_shape()[0].get_length() for table in tables), default=None)


class _Reading:
    def __init__(self, integers: bool) -> None:
        self._integers = integers
        self._quantised: list[Node] = []

    @property
    def integers(self) -> bool:
        """Whether there was anything to put into 8 bits, and it was."""
        return bool(self._quantised)

    @property
    def meant_for_products(self) -> bool:
        """Whether all that is quantised by token is what weights are multiplied with, and nothing else."""
        return all(
            target.get_node().get_type_name() == "MatMul" and target.get_index() == 0
            for node in self._quantised
            for target in node.output(0).get_target_inputs()
        )

    def quantise(self, node: NodeContext) -> list[Node]:
        """The quantised tensor in parts of its reach, its scale (a token's reach), its zero point."""
        x = node.get_input(0)
        if not self._integers:
            return [x, _float(1).output(0), _float(0).output(0)]
        last = ops.constant(np.array([-1], np.int64))
        reach = ops.maximum(ops.reduce_max(ops.abs(x), last, True), _float(np.finfo(np.float32).tiny))
        parts = ops.multiply(x, ops.divide(_float(1), reach))  # a division a token, not one a value
        low, high = _float(_LOWEST), _float(_HIGHEST)
        quantised = ops.fake_quantize(parts, low, high, low, high, _LEVELS)
        self._quantised.append(quantised)
        return [quantised.output(0), reach.output(0), _float(0).output(0)]


def _multiply(node: NodeContext) -> list[Node]:
    # Scales are applied to the product, by the file; without any here OpenVINO would not see weights.
    columns = node.get_input(1).get_partial_shape()[1].get_length()
    weights = _weights(node, scales=ops.constant(np.ones(columns, np.float32)), zero=3)
    return [ops.matmul(node.get_input(0), weights, False, False).output(0)]


def _multiply_and_scale(node: NodeContext) -> list[Node]:
    weights = _weights(node, scales=node.get_input(3), zero=5)
    product = ops.multiply(ops.matmul(node.get_input(0), weights, False, False), node.get_input(2))
    if node.get_input_size() > 6:
        product = ops.add(product, node.get_input(6))
    return [product.output(0)]


def _weights(node: NodeContext, *, scales: Node, zero: int) -> Node:
    """Input 1 of ``node`` in fp32; input ``zero`` is its zero point, if there is one."""
    weights = ops.convert(node.get_input(1), np.float32)
    if node.get_input_size() > zero and np.any(node.get_input(zero).get_node().data):
        weights = ops.subtract(weights, ops.convert(node.get_input(zero), np.float32))
    return ops.multiply(weights, scales)


def _attend(node: NodeContext) -> list[Node]:
    """As our export has it: Q, K and V, a bias for the three, a mask [batch, length]."""
    q, k, v, bias, mask = (node.get_input(index) for index in range(node.get_input_size()))
    heads = node.get_attribute("num_heads")
    width = bias.get_partial_shape()[0].get_length() // 3
    biases = ops.split(bias, _integers(0), 3).outputs()
    q, k, v = (ops.add(part, bias) for part, bias in zip((q, k, v), biases, strict=True))
    q = ops.multiply(q, _float((width // heads) ** -0.5))

    def by_head(part: Node) -> Node:
        parts = ops.reshape(part, _integers([0, 0, heads, width // heads]), True)
        return ops.transpose(parts, _integers([0, 2, 1, 3]))

    scores = ops.matmul(by_head(q), by_head(k), False, True)
    padding = ops.subtract(_float(1), ops.convert(mask, np.float32))
    masked = ops.multiply(ops.unsqueeze(padding, _integers([1, 2])), _float(_MASKED))
    shares = ops.softmax(ops.add(scores, masked), -1)
    context = ops.transpose(ops.matmul(shares, by_head(v), False, False), _integers([0, 2, 1, 3]))
    return [ops.reshape(context, _integers([0, 0, width]), True).output(0)]


def _float(value: float | np.floating[Any]) -> Node:
    return ops.constant(np.float32(value))


def _integers(values: Any) -> Node:
    return ops.constant(np.array(values, np.int64))
