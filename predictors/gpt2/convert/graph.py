"""The ONNX graph that is served: 8-bit linear layers, attention that extends its cache in place.

Inputs: ``ids`` and ``positions`` [B, S] int64; ``lengths`` [B] int32, each sequence's tokens without the last
one; ``total`` int32, the longest of them with it; ``k`` [1] int64; and per layer ``keys.i``, ``values.i``
[B, heads, context, 64], which come back, extended, as ``keys.i.next``, ``values.i.next`` in the same memory.
Outputs, of each sequence's last token: of a classifier ``logits`` [B, labels], of a language model the ``k``
largest logits as ``top_logits`` and ``top_ids`` [B, k]: the whole row need not leave the engine.
"""

from __future__ import annotations

from typing import IO

import numpy as np
import onnx
from onnx import TensorProto, helper

from predictors.gpt2.convert.checkpoint import Checkpoint
from predictors.gpt2.shape import HEAD_SIZE

_MICROSOFT = "com.microsoft"
_PAGE = 4096


def write_graph(checkpoint: Checkpoint, weights: IO[bytes], weights_name: str) -> bytes:
    """The graph; its tensors go to ``weights``, where onnxruntime maps them by that file's name."""
    return _Graph(checkpoint, _Weights(weights, weights_name)).build().SerializeToString()


class _Weights:
    """Tensors in one file, each on a page of its own."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self.tensors: dict[str, TensorProto] = {}

    def add(self, name: str, array: np.ndarray) -> str:
        array = np.ascontiguousarray(array)
        self._file.write(b"\0" * (-self._file.tell() % _PAGE))
        self._refer(name, array.dtype, array.shape, self._file.tell(), array.nbytes)
        self._file.write(array.data)
        return name

    def alias(self, name: str, other: str, shape: tuple[int, ...]) -> str:
        """The bytes of ``other`` once more, under another name and shape."""
        known = self.tensors[other]
        place = {entry.key: int(entry.value) for entry in known.external_data if entry.key != "location"}
        self._refer(
            name, helper.tensor_dtype_to_np_dtype(known.data_type), shape, place["offset"], place["length"]
        )
        return name

    def _refer(self, name: str, dtype: np.dtype, shape: tuple[int, ...], offset: int, length: int) -> None:
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(dtype), dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self._name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self.tensors[name] = tensor


class _Graph:
    def __init__(self, checkpoint: Checkpoint, weights: _Weights) -> None:
        self._shape, self._tensors, self._tied = checkpoint.shape, checkpoint.tensors, checkpoint.tied
        self._block_size = block_size(checkpoint.shape.hidden)
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants = [helper.make_tensor("last", TensorProto.INT64, [], [-1])]

    def build(self) -> onnx.ModelProto:
        shape = self._shape
        residual, normed = self._embed()
        for layer in range(shape.layers):
            after = f"trf_blocks.{layer + 1}.norm1" if layer + 1 < shape.layers else "final_norm"
            residual, normed = self._block(f"trf_blocks.{layer}", layer, residual, normed, after)
        self._head(normed)
        graph = helper.make_graph(
            self._nodes,
            "gpt2",
            self._inputs(),
            self._outputs(),
            [*self._constants, *self._weights.tensors.values()],
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="quintet")

    # -- layers

    def _embed(self) -> tuple[str, str]:
        weights = self._weights
        table = self._tensors["tok_emb.weight"]
        quantised, scales = quantise(table, self._block_size)
        weights.add("tok_emb.quantised", quantised.reshape(table.shape))
        weights.add("tok_emb.scales", scales)
        tokens = self._node(
            "GatherBlockQuantized",
            ["tok_emb.quantised", "ids", "tok_emb.scales"],
            "tokens",
            microsoft=True,
            bits=8,
            block_size=self._block_size,
            gather_axis=0,
            quantize_axis=1,
        )
        table = weights.add("pos_emb", self._tensors["pos_emb.weight"].astype(np.float16))
        places = self._node("Gather", [table, "positions"], "places")
        places = self._node("Cast", [places], "places.float", to=TensorProto.FLOAT)
        return self._add_norm("trf_blocks.0.norm1", tokens, places)

    def _block(self, name: str, layer: int, residual: str, normed: str, after: str) -> tuple[str, str]:
        """One block and the norm behind it, whose residual sum comes with it."""
        names = [f"{name}.att.W_{part}" for part in ("query", "key", "value")]
        mixed = self._linear(
            f"{name}.att.qkv",
            normed,
            np.concatenate([self._tensors[f"{part}.weight"] for part in names]),
            np.concatenate([self._tensors[f"{part}.bias"] for part in names]),
        )
        heads = self._shape.heads
        self._nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [mixed, "", "", f"keys.{layer}", f"values.{layer}", "lengths", "total"],
                [f"{name}.attended", f"keys.{layer}.next", f"values.{layer}.next"],
                domain=_MICROSOFT,
                num_heads=heads,
                kv_num_heads=heads,
            )
        )
        attended = self._own(f"{name}.att.out_proj", f"{name}.attended")
        residual, normed = self._add_norm(f"{name}.norm2", residual, attended)
        inner = self._linear(f"{name}.ff.layers.0", normed, self._tensors[f"{name}.ff.layers.0.weight"])
        bias = self._weights.add(f"{name}.ff.layers.0.bias", self._tensors[f"{name}.ff.layers.0.bias"])
        inner = self._node("FastGelu", [inner, bias], f"{name}.gelu", microsoft=True)
        return self._add_norm(after, residual, self._own(f"{name}.ff.layers.2", inner))

    def _head(self, normed: str) -> None:
        shape = self._shape
        last = self._node("Gather", [normed, "last"], "last_hidden", axis=1)
        if shape.classifies:
            weight = self._weights.add("out_head.weight", self._tensors["out_head.weight"])
            bias = self._weights.add("out_head.bias", self._tensors["out_head.bias"])
            self._node("Gemm", [last, weight, bias], "logits", transB=1)
            return
        blocks = shape.hidden // self._block_size
        if self._tied:
            size = (shape.outputs, blocks, self._block_size)
            weight = self._weights.alias("out_head.quantised", "tok_emb.quantised", size)
            scales = self._weights.alias("out_head.scales", "tok_emb.scales", (shape.outputs * blocks,))
            self._product(last, [weight, scales], "logits", shape.outputs, shape.hidden)
        else:
            self._linear("logits", last, self._tensors["out_head.weight"])
        self._nodes.append(helper.make_node("TopK", ["logits", "k"], ["top_logits", "top_ids"], axis=-1))

    # -- parts of layers

    def _own(self, name: str, x: str) -> str:
        return self._linear(name, x, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])

    def _linear(self, name: str, x: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        quantised, scales = quantise(weight, self._block_size)
        inputs = [
            self._weights.add(f"{name}.quantised", quantised),
            self._weights.add(f"{name}.scales", scales.reshape(-1)),
        ]
        if bias is not None:
            inputs += ["", "", self._weights.add(f"{name}.bias", bias)]
        return self._product(x, inputs, name, *weight.shape)

    def _product(self, x: str, inputs: list[str], name: str, rows: int, columns: int) -> str:
        return self._node(
            "MatMulNBits",
            [x, *inputs],
            name,
            microsoft=True,
            N=rows,
            K=columns,
            bits=8,
            block_size=self._block_size,
            accuracy_level=4,  # activations in 8 bits too, a scale a block
        )

    def _add_norm(self, name: str, residual: str, x: str) -> tuple[str, str]:
        # Not SkipLayerNormalization, which does the two in one, four times as slowly.
        total = self._node("Add", [residual, x], f"{name}.residual")
        normed = self._node("LayerNormalization", [total, *self._norm(name)], f"{name}.normed", epsilon=1e-5)
        return total, normed

    def _norm(self, name: str) -> list[str]:
        return [
            self._weights.add(f"{name}.{part}", self._tensors[f"{name}.{part}"])
            for part in ("scale", "shift")
        ]

    def _node(
        self, kind: str, inputs: list[str], output: str, *, microsoft: bool = False, **attributes
    ) -> str:
        domain = _MICROSOFT if microsoft else ""
        self._nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    # -- what goes in and out

    def _caches(self, suffix: str) -> list[onnx.ValueInfoProto]:
        size = ["batch", self._shape.heads, "context", HEAD_SIZE]
        names = (
            f"{kind}.{layer}{suffix}" for layer in range(self._shape.layers) for kind in ("keys", "values")
        )
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name in names]

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        inputs = [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"]),
            helper.make_tensor_value_info("positions", TensorProto.INT64, ["batch", "tokens"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
            helper.make_tensor_value_info("total", TensorProto.INT32, []),
        ]
        if not self._shape.classifies:
            inputs.append(helper.make_tensor_value_info("k", TensorProto.INT64, [1]))
        return inputs + self._caches("")

    def _outputs(self) -> list[onnx.ValueInfoProto]:
        if self._shape.classifies:
            size = ["batch", self._shape.outputs]
            outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, size)]
        else:
            outputs = [
                helper.make_tensor_value_info("top_logits", TensorProto.FLOAT, ["batch", "top"]),
                helper.make_tensor_value_info("top_ids", TensorProto.INT64, ["batch", "top"]),
            ]
        return outputs + self._caches(".next")


def block_size(hidden: int) -> int:
    """Weights that share one scale. More are faster to multiply, fewer are closer to what they stand for."""
    return 128 if hidden % 128 == 0 else 64


def quantise(weight: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Of weights [rows, columns]: 8 bits around 128 [rows, blocks, block], a scale a block [rows, blocks]."""
    blocks = weight.reshape(weight.shape[0], -1, block)
    scales = np.abs(blocks).max(-1) / 127
    scales[scales == 0] = 1
    quantised = np.rint(blocks / scales[..., None]) + 128
    return quantised.astype(np.uint8), scales.astype(np.float32)
