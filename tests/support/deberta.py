"""The reference the engines are held against: transformers' own DebertaV2Model under the published heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model

from predictors.prompt_classifier.checkpoint import TARGETS, Checkpoint


class Reference(nn.Module):
    """Backbone, masked mean pooling, eight heads: [b, n] ids and mask to [b, 32] logits."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        shape = checkpoint.shape
        # As microsoft/deberta-v3-base has them; a dict, since the config takes some of them only as extras.
        options: dict[str, Any] = {
            "vocab_size": shape.vocab,
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.intermediate,
            "max_position_embeddings": 512,
            "type_vocab_size": 0,
            "layer_norm_eps": 1e-7,
            "relative_attention": True,
            "max_relative_positions": -1,
            "position_buckets": shape.position_buckets,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
            "pad_token_id": 0,
        }
        self.backbone = DebertaV2Model(DebertaV2Config(**options))
        tensors = checkpoint.tensors
        prefix = "backbone."
        self.backbone.load_state_dict(
            {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        )
        self.heads = nn.ModuleList(nn.Linear(shape.hidden, classes) for classes in TARGETS.values())
        for index, head in enumerate(self.heads):
            head.load_state_dict({part: tensors[f"head_{index}.fc.{part}"] for part in ("weight", "bias")})
        self.eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).float()
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return torch.cat([head(pooled) for head in self.heads], dim=1)

    @torch.inference_mode()
    def logits(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """One at a time, so that no padding or mask can blur the comparison."""
        rows = []
        for sequence in sequences:
            ids = torch.from_numpy(sequence.astype(np.int64))[None]
            rows.append(self(ids, torch.ones_like(ids))[0].numpy())
        return np.stack(rows)
