"""The checkpoint's tensors, rearranged once at load so that the forward pass has nothing left to prepare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from predictors.prompt_classifier.checkpoint import HEAD_SIZE, TARGETS, Checkpoint

from .positions import rows_by_distance

EPSILON = 1e-7
"""``layer_norm_eps`` of every DeBERTa-v3."""

SCORE_SCALE = (3 * HEAD_SIZE) ** -0.5
"""One over the root of three times the head size: a score is the sum of three products, not of one."""


@dataclass(frozen=True)
class Affine:
    """Weight [out, in] and bias [out] of a linear layer."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class Norm:
    """Gain and bias [hidden] of a LayerNorm."""

    gain: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class Layer:
    """One encoder layer of ``h`` heads."""

    qkv: Affine
    """Query, key and value as one layer [3 * hidden, hidden]; the query's part carries the score scale."""
    position_keys: torch.Tensor
    """[h, 64, 1023], by DESCENDING distance query - key (so by ascending key position)."""
    position_queries: torch.Tensor
    """[h, 64, 1023], by ASCENDING distance query - key; carries the score scale."""
    attention_out: Affine
    attention_norm: Norm
    ffn_in: Affine
    ffn_out: Affine
    ffn_norm: Norm


@dataclass(frozen=True)
class Weights:
    """All of the model, fp32 on the CPU."""

    embeddings: torch.Tensor
    """[vocab, hidden], already through the embedding LayerNorm: a token's vector depends on nothing else."""
    layers: tuple[Layer, ...]
    heads: Affine
    """[32, hidden]: the eight heads in pinned order, the last LayerNorm's affine part folded in."""


def prepare(checkpoint: Checkpoint) -> Weights:
    """Fuse, fold and precompute; exact up to the rounding of fp32.

    - Position keys and queries depend on weights alone: projected once here, not in every forward pass.
    - ``score_scale`` moves into the query projections.
    - The last LayerNorm is ``n(x) * gain + bias`` with ``n`` the plain normalisation. Mean pooling commutes
      with the affine part, so ``head(mean(n(x) * gain + bias)) = (W * gain) mean(n(x)) + (W bias + b)``.
      That is all that pooling lets us skip: ``n`` is not linear, so every token needs the whole last layer.
    """
    tensors, shape = checkpoint.tensors, checkpoint.shape

    def affine(name: str) -> Affine:
        return Affine(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str) -> Norm:
        return Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def normalised(rows: torch.Tensor, by: Norm) -> torch.Tensor:
        return functional.layer_norm(rows, (shape.hidden,), by.gain, by.bias, EPSILON)

    relative = normalised(
        tensors["backbone.encoder.rel_embeddings.weight"], norm("backbone.encoder.LayerNorm")
    )
    by_distance = rows_by_distance(shape.position_buckets)

    def position_table(projection: Affine) -> torch.Tensor:
        projected = functional.linear(relative, projection.weight, projection.bias)
        return projected[by_distance].view(-1, shape.heads, HEAD_SIZE).permute(1, 2, 0)

    def layer(index: int) -> Layer:
        name = f"backbone.encoder.layer.{index}"
        query, key, value = (
            affine(f"{name}.attention.self.{part}_proj") for part in ("query", "key", "value")
        )
        query = Affine(query.weight * SCORE_SCALE, query.bias * SCORE_SCALE)
        return Layer(
            qkv=Affine(
                torch.cat([query.weight, key.weight, value.weight]),
                torch.cat([query.bias, key.bias, value.bias]),
            ),
            # share_att_key: positions pass through the same projections as contents.
            position_keys=position_table(key).flip(2).contiguous(),
            position_queries=position_table(query).contiguous(),
            attention_out=affine(f"{name}.attention.output.dense"),
            attention_norm=norm(f"{name}.attention.output.LayerNorm"),
            ffn_in=affine(f"{name}.intermediate.dense"),
            ffn_out=affine(f"{name}.output.dense"),
            ffn_norm=norm(f"{name}.output.LayerNorm"),
        )

    last = norm(f"backbone.encoder.layer.{shape.layers - 1}.output.LayerNorm")
    heads = [affine(f"head_{index}.fc") for index in range(len(TARGETS))]
    weight = torch.cat([head.weight for head in heads])
    bias = torch.cat([head.bias for head in heads])
    return Weights(
        embeddings=normalised(
            tensors["backbone.embeddings.word_embeddings.weight"], norm("backbone.embeddings.LayerNorm")
        ),
        layers=tuple(layer(index) for index in range(shape.layers)),
        heads=Affine(weight * last.gain, bias + weight @ last.bias),
    )
