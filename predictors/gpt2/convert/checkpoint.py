"""The checkpoints people have, read strictly into one set of names.

Two .pth formats are published (a feed-forward under ``ff.layers``, with a spam head; one under ``ff.layer``,
with an untied language head), both with the attention masks as buffers; either may be wrapped in
``{"state_dict": ...}``. transformers' GPT-2 is read too, from its .bin or .safetensors.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from predictors.gpt2.convert.config import check_config, config_beside
from predictors.gpt2.convert.torch_file import MoreThanTensors, NotATorchFile, is_of_old, is_zip, read
from predictors.gpt2.shape import HEAD_SIZE, LABELS, VOCAB, ModelShape, expected_shapes
from predictors.runtime.errors import LoadError

Named = dict[str, np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: complete, of consistent shapes, with finite values only."""

    shape: ModelShape
    tensors: dict[str, np.ndarray]
    """fp32, under the published names of ``expected_shapes``."""
    checksum: str
    """SHA-256 of the file, in hex."""

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding: then it need be kept only once."""
        head, embedding = self.tensors["out_head.weight"], self.tensors["tok_emb.weight"]
        return head.shape == embedding.shape and np.array_equal(head, embedding)


def read_checkpoint(path: Path, *, trust_pickle: bool = False) -> Checkpoint:
    """Read and verify one file; a :class:`LoadError` says in a sentence what is wrong.

    ``trust_pickle`` also takes a file that holds a whole model object, by running whatever that file says:
    only for a file one would run as a program.
    """
    if not path.is_file():
        raise LoadError(f"The checkpoint {path} does not exist or is not a file.")
    found = _state_dict(_load(path, trust_pickle=trust_pickle), path)
    arrays = _arrays(found, path)
    theirs = any(key.removeprefix("transformer.") == "wte.weight" for key in arrays)
    tensors, masks = _from_transformers(arrays, path) if theirs else _published(arrays, path)
    shape = _verify(tensors, path)
    if theirs:
        for key, mask in masks.items():
            _verify_mask(key, mask, np.tril(np.ones((1, 1, shape.context, shape.context), bool)), path)
        if (config := config_beside(path)) is not None:
            check_config(config, shape)
    else:
        _verify_published_masks(masks, shape, path)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(shape, tensors, checksum)


def _load(path: Path, *, trust_pickle: bool) -> Any:
    try:
        if path.suffix != ".safetensors":
            if is_zip(path):
                return read(path)
            if not is_of_old(path):
                raise NotATorchFile("it is no file of torch.save")
        from predictors.gpt2.convert import with_torch

        return with_torch.read(path)
    except NotATorchFile as error:
        raise LoadError(f"{path} is truncated or not a checkpoint: {error}.") from None
    except MoreThanTensors:
        if not trust_pickle:
            raise LoadError(
                f"{path} holds more than tensors, such as a whole model object, which is only read by running"
                " what the file says. If you trust it as you would a program, convert it once:"
                " python -m predictors.gpt2 convert --trust-pickle."
            ) from None
    from predictors.gpt2.convert import with_torch

    return with_torch.read_trusted(path)


def _state_dict(loaded: Any, path: Path) -> Mapping[str, Any]:
    if isinstance(loaded, Mapping) and "state_dict" in loaded:
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded:
        raise LoadError(f"{path} holds no state dict but a {type(loaded).__name__}.")
    return loaded


def _arrays(found: Mapping[str, Any], path: Path) -> Named:
    arrays: Named = {}
    for key, value in found.items():
        if not isinstance(value, np.ndarray):
            raise LoadError(f"{path} holds {key!r}, which is no tensor.")
        floats = np.issubdtype(value.dtype, np.floating)
        arrays[str(key)] = value.astype(np.float32, copy=False) if floats else value
    return arrays


def _published(arrays: Named, path: Path) -> tuple[Named, Named]:
    """The tensors under the published names, and the masks."""
    plural = any(".ff.layers." in key for key in arrays)
    if plural and any(".ff.layer." in key for key in arrays):
        raise LoadError(f"{path} has both ff.layers and ff.layer: it mixes two formats.")
    tensors: Named = {}
    masks: Named = {}
    for key, array in arrays.items():
        if _MASK.fullmatch(key):
            masks[key] = array
        else:
            tensors[key.replace(".ff.layer.", ".ff.layers.")] = array
    return tensors, masks


def _verify_published_masks(masks: Named, shape: ModelShape, path: Path) -> None:
    """One in every layer, as its strict loader wants them, and none besides."""
    wanted = [f"trf_blocks.{layer}.att.mask" for layer in range(shape.layers)]
    if missing := [key for key in wanted if key not in masks]:
        raise LoadError(f"{path} lacks {_listed(missing)}.")
    if unexpected := sorted(masks.keys() - set(wanted)):
        raise LoadError(f"{path} holds what this model does not have: {_listed(unexpected)}.")
    causal = np.triu(np.ones((shape.context, shape.context), bool), 1)
    for key in wanted:
        _verify_mask(key, masks[key], causal, path)


def _verify_mask(key: str, mask: np.ndarray, causal: np.ndarray, path: Path) -> None:
    if mask.shape != causal.shape:
        sizes = f"shape {list(mask.shape)}, expected {list(causal.shape)}"
        raise LoadError(f"{path} holds {key} of {sizes}: the context's.")
    if not np.array_equal(mask, causal):
        raise LoadError(f"{path} holds {key}, which is not the causal mask.")


_MASK = re.compile(r"trf_blocks\.\d+\.att\.mask")
_NORMS = {"ln_1": "norm1", "ln_2": "norm2"}
_LINEARS = {"attn.c_proj": "att.out_proj", "mlp.c_fc": "ff.layers.0", "mlp.c_proj": "ff.layers.2"}
_THEIR_MASK = re.compile(r"h\.\d+\.attn\.bias")
_BLOCKED = re.compile(r"h\.\d+\.attn\.masked_bias")
"""What transformers put for a masked score, then: a number so low that its size means nothing."""


def _from_transformers(arrays: Named, path: Path) -> tuple[Named, Named]:
    """The tensors under the published names, and the masks, which only older versions saved."""
    tensors: Named = {}
    masks: Named = {}
    for key, array in arrays.items():
        name = key.removeprefix("transformer.")
        if _THEIR_MASK.fullmatch(name):
            masks[key] = array
            continue
        if _BLOCKED.fullmatch(name):
            if array.size != 1 or not array.max() <= -1e4:
                raise LoadError(f"{path} holds {key}, which is not one number far below 0.")
            continue
        for published, value in _renamed(name, array, path):
            tensors[published] = value
    if "tok_emb.weight" in tensors:
        tensors.setdefault("out_head.weight", tensors["tok_emb.weight"])
    return tensors, masks


def _renamed(name: str, array: np.ndarray, path: Path) -> Iterable[tuple[str, np.ndarray]]:
    """The published names and values of one tensor of transformers', whose linear layers are transposed."""
    single = {
        "wte.weight": "tok_emb.weight",
        "wpe.weight": "pos_emb.weight",
        "lm_head.weight": "out_head.weight",
    }
    if name in single:
        return [(single[name], array)]
    part = {"weight": "scale", "bias": "shift"}
    if match := re.fullmatch(r"ln_f\.(weight|bias)", name):
        return [(f"final_norm.{part[match[1]]}", array)]
    if match := re.fullmatch(r"h\.(\d+)\.(ln_[12])\.(weight|bias)", name):
        return [(f"trf_blocks.{match[1]}.{_NORMS[match[2]]}.{part[match[3]]}", array)]
    if match := re.fullmatch(r"h\.(\d+)\.(attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.(weight|bias)", name):
        return [(f"trf_blocks.{match[1]}.{_LINEARS[match[2]]}.{match[3]}", array.T)]
    if match := re.fullmatch(r"h\.(\d+)\.attn\.c_attn\.(weight|bias)", name):
        if array.shape[-1] % 3:
            raise LoadError(f"{path} holds {name} of shape {list(array.shape)}, expected three parts.")
        names = (f"trf_blocks.{match[1]}.att.W_{part}.{match[2]}" for part in ("query", "key", "value"))
        return list(zip(names, (part.T for part in np.split(array, 3, axis=-1)), strict=True))
    return [(name, array)]  # unexpected: the check of all names says so


def _verify(tensors: dict[str, np.ndarray], path: Path) -> ModelShape:
    shape = _derive_shape(tensors, path)
    expected = expected_shapes(shape)
    if missing := [key for key in expected if key not in tensors]:
        raise LoadError(f"{path} lacks {_listed(missing)}.")
    if unexpected := sorted(key for key in tensors if key not in expected):
        raise LoadError(f"{path} holds what this model does not have: {_listed(unexpected)}.")
    for key, wanted in expected.items():
        found = tensors[key]
        if found.shape != wanted:
            raise LoadError(f"{path} holds {key} of shape {list(found.shape)}, expected {list(wanted)}.")
        if found.dtype != np.float32:
            raise LoadError(f"{path} holds {key} as {found.dtype}, expected floating point numbers.")
        if not np.isfinite(found).all():
            raise LoadError(f"{path} holds values in {key} that are not finite numbers.")
        tensors[key] = np.ascontiguousarray(found)
    return shape


def _derive_shape(tensors: Mapping[str, np.ndarray], path: Path) -> ModelShape:
    def matrix(key: str) -> tuple[int, int]:
        if key not in tensors:
            raise LoadError(f"{path} lacks {key}.")
        size = tensors[key].shape
        if len(size) != 2 or 0 in size:
            raise LoadError(f"{path} holds {key} of shape {list(size)}, expected a matrix.")
        return size[0], size[1]

    vocab, hidden = matrix("tok_emb.weight")
    if vocab != VOCAB:
        raise LoadError(f"{path} holds tok_emb.weight with {vocab} rows, expected GPT-2's {VOCAB}.")
    if hidden % HEAD_SIZE:
        raise LoadError(
            f"{path} holds tok_emb.weight of width {hidden}, no multiple of the head size {HEAD_SIZE}."
        )
    context, _ = matrix("pos_emb.weight")
    outputs, _ = matrix("out_head.weight")
    if outputs not in (VOCAB, LABELS):
        raise LoadError(
            f"{path} holds out_head.weight with {outputs} rows, expected {VOCAB} (text) or {LABELS} (spam)."
        )
    numbers = (match[1] for key in tensors if (match := re.match(r"trf_blocks\.(\d+)\.", key)))
    # A gap in the numbering must name the keys that lack, not build a model of a million layers.
    layers = min(max((int(number) + 1 for number in numbers), default=1), len(tensors))
    return ModelShape(layers, hidden, context, outputs)


def _listed(keys: Iterable[str], shown: int = 3) -> str:
    """The first few keys, then how many more: a wrong file can have hundreds."""
    keys = list(keys)
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + more
