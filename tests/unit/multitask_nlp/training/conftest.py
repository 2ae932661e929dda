"""An encoder of two small layers: enough to train, export and resume in a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, PreTrainedModel

from predictors.multitask_nlp.training.model import MultitaskModel

WIDE = 0.2
"""Ten times the usual spread of fresh weights: layers that do nothing would hide every mistake in them."""


def small_encoder(kind: str = "bert") -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "bert":
        config = BertConfig(
            vocab_size=120,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=WIDE,
        )
        return BertModel(config, add_pooling_layer=False)
    config = DistilBertConfig(
        vocab_size=120,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=64,
        initializer_range=WIDE,
    )
    return DistilBertModel(config)


@pytest.fixture
def make_model() -> Callable[..., MultitaskModel]:
    return lambda kind="bert": MultitaskModel(small_encoder(kind))
