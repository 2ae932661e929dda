"""transformers' config.json beside its weights: what changes the function and no tensor's shape tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from predictors.gpt2.shape import HEAD_SIZE, ModelShape
from predictors.runtime.errors import LoadError

_SIZES = {"n_head": "num_attention_heads", "n_embd": "hidden_size", "n_layer": "num_hidden_layers"}
"""Sizes under transformers' two names for each."""
_FUNCTION: Mapping[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
"""What the engine computes; the first of each is what transformers takes where a file says nothing."""


def config_beside(checkpoint: Path) -> Path | None:
    path = checkpoint.with_name("config.json")
    return path if path.is_file() else None


def check_config(path: Path, shape: ModelShape) -> None:
    """Raises LoadError when the file describes another function than the engine's on tensors of ``shape``."""
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(config, dict):
        raise LoadError(f"{path} is no JSON object.")
    for name, known in _FUNCTION.items():
        if (found := config.get(name, known[0])) not in known:
            values = " or ".join(map(json.dumps, known))
            raise LoadError(f"{path} has {name} {json.dumps(found)}: this engine computes {values}.")
    sizes = {"n_head": shape.heads, "n_embd": shape.hidden, "n_layer": shape.layers}
    for name, wanted in sizes.items():
        found = config.get(name, config.get(_SIZES[name], wanted if name != "n_head" else 12))
        if found != wanted:
            heads = f", in heads of {HEAD_SIZE}" if name == "n_head" else ""
            raise LoadError(
                f"{path} has {name} {json.dumps(found)}: the weights beside it have {wanted}{heads}."
            )
