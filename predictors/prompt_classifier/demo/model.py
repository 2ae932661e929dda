"""The network: transformers' DeBERTa-v2 at a small size with v3's settings, mean pooling, eight linear
heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model

from predictors.prompt_classifier.demo.published import HEADS, TARGET_SIZES

HEAD_SIZE = 64
"""As in the published backbone: a loader can tell the number of attention heads from it."""
POSITION_BUCKETS = 256
VOCAB_MULTIPLE = 100
"""The published embedding has more rows than the tokenizer has ids; so has ours."""


_UNDECLARED: dict[str, Any] = {
    "position_buckets": POSITION_BUCKETS,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
"""Settings of v3 that transformers' config takes without declaring them."""


def backbone_config(
    vocab_size: int, *, hidden: int, layers: int, intermediate: int, dropout: float = 0.0
) -> DebertaV2Config:
    return DebertaV2Config(
        vocab_size=-(-(vocab_size + 1) // VOCAB_MULTIPLE) * VOCAB_MULTIPLE,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD_SIZE,
        intermediate_size=intermediate,
        hidden_act="gelu",
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=512,
        type_vocab_size=0,
        layer_norm_eps=1e-7,
        relative_attention=True,
        max_relative_positions=-1,
        pad_token_id=0,
        position_biased_input=False,
        pos_att_type="p2c|c2p",
        **_UNDECLARED,
    )


class PromptClassifier(nn.Module):
    """Submodules carry the published names, so that ``state_dict()`` is the published file."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        self.backbone = DebertaV2Model(config)
        for index, head in enumerate(HEADS):
            fc = nn.Linear(config.hidden_size, TARGET_SIZES[head])
            self.add_module(f"head_{index}", nn.ModuleDict({"fc": fc}))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.heads(mean_pool(hidden, attention_mask))

    def heads(self, pooled: Tensor) -> list[Tensor]:
        return [self.get_submodule(f"head_{index}.fc")(pooled) for index in range(len(HEADS))]


def narrow_positions(model: PromptClassifier, longest: int) -> None:
    """Lets the backbone work on only those relative positions that a batch of this length can use.

    transformers projects and multiplies all 512 of them for every prompt of the batch, which for short
    prompts is most of the work. Two tokens at most ``longest - 1`` apart never look beyond that many rows on
    either side of the middle, so the results are the same, bit for bit, and training is five times as fast.
    """
    encoder: Any = model.backbone.encoder
    span = min(longest, POSITION_BUCKETS)
    middle = slice(POSITION_BUCKETS - span, POSITION_BUCKETS + span)
    encoder.get_rel_embedding = lambda: type(encoder).get_rel_embedding(encoder)[middle]
    for layer in encoder.layer:
        layer.attention.self.pos_ebd_size = span


def mean_pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    mask = attention_mask.unsqueeze(-1).float()
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Right padding with id 0, and the mask that goes with it."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return ids, mask
