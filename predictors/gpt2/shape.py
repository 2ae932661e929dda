"""What a GPT-2 is made of: its sizes, and the name and shape of every tensor in the published format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HEAD_SIZE = 64
"""Width of one attention head: every published GPT-2 has 64, and no tensor's shape tells it."""
VOCAB = 50_257
END_OF_TEXT = 50_256
Encoding = Literal["gpt2", "r50k_base"]
"""tiktoken's names of this vocabulary: the same tokens and merges, in two files and in one of ranks."""
LABELS = 2
"""Classes of the spam head."""


@dataclass(frozen=True)
class ModelShape:
    layers: int
    hidden: int
    context: int
    """Positions the model was made with."""
    outputs: int
    """Rows of the head: the vocabulary, or the labels of a classifier."""

    @property
    def heads(self) -> int:
        return self.hidden // HEAD_SIZE

    @property
    def classifies(self) -> bool:
        return self.outputs == LABELS


def expected_shapes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Every tensor of a model of these sizes, under its published name (``ff.layers``), without the masks."""
    hidden = shape.hidden
    keys: dict[str, tuple[int, ...]] = {
        "tok_emb.weight": (VOCAB, hidden),
        "pos_emb.weight": (shape.context, hidden),
    }

    def linear(name: str, rows: int, columns: int) -> None:
        keys[f"{name}.weight"], keys[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str) -> None:
        keys[f"{name}.scale"] = keys[f"{name}.shift"] = (hidden,)

    for index in range(shape.layers):
        block = f"trf_blocks.{index}"
        for part in ("W_query", "W_key", "W_value", "out_proj"):
            linear(f"{block}.att.{part}", hidden, hidden)
        linear(f"{block}.ff.layers.0", 4 * hidden, hidden)
        linear(f"{block}.ff.layers.2", hidden, 4 * hidden)
        norm(f"{block}.norm1")
        norm(f"{block}.norm2")
    norm("final_norm")
    keys["out_head.weight"] = (shape.outputs, hidden)
    if shape.classifies:
        keys["out_head.bias"] = (shape.outputs,)
    return keys
