"""The served graph of a BERT or DistilBERT encoder, written node by node for 8-bit kernels.

What a generic export leaves on the table, by profile: attention as a dozen nodes, Q, K and V each quantised
anew, embeddings as fp32. Here attention is one node (com.microsoft MultiHeadAttention), all linear layers but
the token heads are 8-bit with a scale an output channel, and embedding tables 8-bit with a scale a row.
Add and LayerNormalization stay two nodes: one for both (SkipLayerNormalization) took five times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from predictors.multitask_nlp.engine import OUTPUTS
from predictors.multitask_nlp.tasks import NER_LABELS, SENTIMENTS
from predictors.multitask_nlp.training.model import MultitaskModel

OPSET = 20
_MICROSOFT = "com.microsoft"
_SYMMETRIC = 127


@dataclass(frozen=True)
class _Layer:
    """Names of the parts of an encoder's layer in its state dict."""

    query: str
    key: str
    value: str
    attention_out: str
    attention_norm: str
    ffn_in: str
    ffn_out: str
    ffn_norm: str


@dataclass(frozen=True)
class _Layout:
    """Where a kind of encoder keeps its parts and how its config calls its sizes."""

    prefix: str
    layer: _Layer
    heads: str
    layers: str
    activation: str
    token_types: bool


_LAYOUTS = {
    "distilbert": _Layout(
        "transformer.layer.{}.",
        _Layer(
            "attention.q_lin",
            "attention.k_lin",
            "attention.v_lin",
            "attention.out_lin",
            "sa_layer_norm",
            "ffn.lin1",
            "ffn.lin2",
            "output_layer_norm",
        ),
        heads="n_heads",
        layers="n_layers",
        activation="activation",
        token_types=False,
    ),
    "bert": _Layout(
        "encoder.layer.{}.",
        _Layer(
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "attention.output.LayerNorm",
            "intermediate.dense",
            "output.dense",
            "output.LayerNorm",
        ),
        heads="num_attention_heads",
        layers="num_hidden_layers",
        activation="hidden_act",
        token_types=True,
    ),
}


def supported(model: MultitaskModel) -> bool:
    """Whether the encoder is of a kind that this module knows."""
    config = model.encoder.config
    layout = _LAYOUTS.get(config.model_type)
    return (
        layout is not None
        and getattr(config, layout.activation) == "gelu"
        and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
    )


def write_int8(model: MultitaskModel, file: Path) -> None:
    """Inputs input_ids, attention_mask: int64 [batch, length]; outputs as the generic export names them."""
    onnx.save(_build(model), file)


def _build(model: MultitaskModel) -> onnx.ModelProto:
    config = model.encoder.config
    layout = _LAYOUTS[config.model_type]
    graph = _Graph(model.state_dict(), float(getattr(config, "layer_norm_eps", 1e-12)))
    states = graph.embeddings(layout.token_types)
    mask = graph.node("Cast", "attention_mask", to=TensorProto.INT32)
    for index in range(getattr(config, layout.layers)):
        prefix = f"encoder.{layout.prefix.format(index)}"
        states = graph.layer(states, mask, prefix, layout.layer, getattr(config, layout.heads))
    graph.heads(states)
    return graph.model()


class _Graph:
    def __init__(self, weights: dict[str, Tensor], epsilon: float) -> None:
        self._weights = weights
        self._epsilon = epsilon
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    # -- parts of the model

    def embeddings(self, token_types: bool) -> str:
        where = "encoder.embeddings."
        positions = self._array(f"{where}position_embeddings.weight")
        if token_types:  # all tokens are of type 0, as in training
            positions = positions + self._array(f"{where}token_type_embeddings.weight")[0]
        words, scales = _rows_int8(self._array(f"{where}word_embeddings.weight"))
        word = self._scaled(
            self.node("Gather", self._constant("words", words), "input_ids"),
            self.node("Gather", self._constant("words.scales", scales), "input_ids"),
        )
        length = self.node("Shape", "input_ids", start=1, end=2)
        zero = self._constant("zero", np.array([0], np.int64))
        table, table_scales = _rows_int8(positions)
        place = self._scaled(
            self.node("Slice", self._constant("positions", table), zero, length, zero),
            self.node("Slice", self._constant("positions.scales", table_scales), zero, length, zero),
        )
        return self._norm(self.node("Add", word, place), f"{where}LayerNorm")

    def layer(self, states: str, mask: str, prefix: str, names: _Layer, heads: int) -> str:
        quantised = self._nodes_of("DynamicQuantizeLinear", 3, states)
        projections = (names.query, names.key, names.value)
        q, k, v = (
            self._linear(states, prefix + name, quantised=quantised, bias=False) for name in projections
        )
        biases = np.concatenate([self._array(f"{prefix}{name}.bias") for name in projections])
        context = self.node(
            "MultiHeadAttention",
            *(q, k, v, self._constant(f"{prefix}qkv.bias", biases), mask),
            domain=_MICROSOFT,
            num_heads=heads,
        )
        attended = self._linear(context, prefix + names.attention_out)
        states = self._norm(self.node("Add", states, attended), prefix + names.attention_norm)
        inner = self.node("Gelu", self._linear(states, prefix + names.ffn_in))
        outer = self._linear(inner, prefix + names.ffn_out)
        return self._norm(self.node("Add", states, outer), prefix + names.ffn_norm)

    def heads(self, states: str) -> None:
        # The token heads are a few columns: fp32, in one product.
        weight = np.concatenate([self._array("ner_head.1.weight"), self._array("qa_head.weight")]).T
        bias = np.concatenate([self._array("ner_head.1.bias"), self._array("qa_head.bias")])
        tokens = self.node("MatMul", states, self._constant("token_heads", weight))
        tokens = self.node("Add", tokens, self._constant("token_heads.bias", bias))
        sizes = self._constant("sizes", np.array([len(NER_LABELS), 1, 1], np.int64))
        ner, start, end = self._nodes_of("Split", 3, tokens, sizes, axis=2)
        last = self._constant("last", np.array([2], np.int64))
        first = self.node("Gather", states, self._constant("first", np.array(0, np.int64)), axis=1)
        hidden = self.node("Relu", self._linear(first, "sentiment_head.0"))
        sentiment = self.node(
            "Gemm",
            *(hidden, self._constant("sentiment", self._array("sentiment_head.3.weight"))),
            self._constant("sentiment.bias", self._array("sentiment_head.3.bias")),
            transB=1,
        )
        found = (sentiment, ner, self.node("Squeeze", start, last), self.node("Squeeze", end, last))
        for name, output in zip(found, OUTPUTS, strict=True):
            self._nodes.append(helper.make_node("Identity", [name], [output]))

    def model(self) -> onnx.ModelProto:
        def value(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, list(shape))

        inputs = [
            value(name, TensorProto.INT64, "batch", "length") for name in ("input_ids", "attention_mask")
        ]
        shapes = (
            ("batch", len(SENTIMENTS)),
            ("batch", "length", len(NER_LABELS)),
            *[("batch", "length")] * 2,
        )
        outputs = [
            value(name, TensorProto.FLOAT, *shape) for name, shape in zip(OUTPUTS, shapes, strict=True)
        ]
        graph = helper.make_graph(
            self._nodes, "multitask_nlp", inputs, outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="quintet")

    # -- nodes

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        (output,) = self._nodes_of(kind, 1, *inputs, **attributes)
        return output

    def _nodes_of(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        name = f"{kind}_{len(self._nodes)}"
        names = [f"{name}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, name=name, **attributes))
        return names

    def _linear(
        self, states: str, name: str, *, quantised: list[str] | None = None, bias: bool = True
    ) -> str:
        """``states`` times an 8-bit weight; ``quantised`` when the states have been quantised already."""
        values, scale, zero = quantised or self._nodes_of("DynamicQuantizeLinear", 3, states)
        weight, scales = _columns_int8(self._array(f"{name}.weight").T)
        inputs = [
            values,
            self._constant(f"{name}.weight", weight),
            scale,
            self._constant(f"{name}.scales", scales),
            zero,
            self._constant(f"{name}.zeros", np.zeros(len(scales), np.int8)),
        ]
        if bias:
            inputs.append(self._constant(f"{name}.bias", self._array(f"{name}.bias")))
        return self.node("MatMulIntegerToFloat", *inputs, domain=_MICROSOFT)

    def _norm(self, states: str, name: str) -> str:
        gain, bias = (
            self._constant(f"{name}.{part}", self._array(f"{name}.{part}")) for part in ("weight", "bias")
        )
        return self.node("LayerNormalization", states, gain, bias, epsilon=self._epsilon)

    def _scaled(self, values: str, scales: str) -> str:
        return self.node("Mul", self.node("Cast", values, to=TensorProto.FLOAT), scales)

    def _constant(self, name: str, values: np.ndarray) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def _array(self, name: str) -> np.ndarray:
        return self._weights[name].detach().float().cpu().numpy()


def _columns_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [in, out] and a scale for each of the out columns; symmetric, so the zero point is 0."""
    scales = np.maximum(np.abs(weight).max(0), np.finfo(np.float32).tiny) / _SYMMETRIC
    return np.round(weight / scales).astype(np.int8), scales.astype(np.float32)


def _rows_int8(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [rows, n] and a scale [rows, 1] for each row."""
    values, scales = _columns_int8(table.T)
    return values.T, scales[:, None]
