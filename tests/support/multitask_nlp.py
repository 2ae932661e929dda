"""multitask_nlp in small: a tokenizer of letters, encoders of two layers, a served folder made of them."""

# The library's setters are not in its stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from predictors.multitask_nlp.tokenizer import TextTokenizer
from predictors.multitask_nlp.training.export import artifact_files
from predictors.multitask_nlp.training.model import MultitaskModel
from predictors.runtime.folders import write_checkpoint

LENGTH = 64
WIDE = 0.2
"""Ten times the usual spread of fresh weights: layers that do nothing would hide every mistake in them."""
CLS, SEP, UNK = 1, 2, 3
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]


def make_tokenizer() -> Tokenizer:
    """WordPiece as BERT's: lower case, accents stripped, every letter a token or a continuation."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"-&$日本語हिन"
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return tokenizer


def small_encoder(kind: str = "bert") -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "bert":
        config = BertConfig(
            vocab_size=120,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=LENGTH,
            initializer_range=WIDE,
        )
        return BertModel(config, add_pooling_layer=False)
    config = DistilBertConfig(
        vocab_size=120,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=LENGTH,
        initializer_range=WIDE,
    )
    return DistilBertModel(config)


def other_encoder(kind: str) -> PreTrainedModel:
    """A small one of a kind that has no graph of ours, by its name in transformers."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 120,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": LENGTH + 2,  # RoBERTa's first two are for padding
        "initializer_range": WIDE,
        "pad_token_id": 0,
    }
    if kind == "deberta-v2":  # as DeBERTa-v3 has it
        sizes |= {
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        }
    return AutoModel.from_config(AutoConfig.for_model(kind, **sizes))


def write_encoder(folder: Path, encoder: PreTrainedModel | None = None) -> None:
    """As transformers saves them."""
    (encoder or small_encoder()).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(), pad_token="[PAD]", unk_token="[UNK]", model_max_length=LENGTH
    ).save_pretrained(folder)


def write_served(folder: Path) -> None:
    model = MultitaskModel(small_encoder()).eval()
    write_checkpoint(folder, artifact_files(model, TextTokenizer(make_tokenizer(), LENGTH), {}))
