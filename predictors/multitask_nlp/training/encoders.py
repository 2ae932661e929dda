"""The encoder and its tokenizer, by name or from a folder."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from predictors.multitask_nlp.tokenizer import TextTokenizer


class NoEncoder(Exception):
    """The encoder cannot be had; one sentence."""


@dataclass(frozen=True)
class Encoder:
    model: PreTrainedModel
    tokenizer: TextTokenizer
    pad_id: int


def load_encoder(name: str, max_length: int) -> Encoder:
    """``name``: of a model on the hub, or a folder. Raises NoEncoder."""
    logging.set_verbosity_error()  # it warns of every head that the checkpoint has and we do not take
    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(name)
        theirs = AutoTokenizer.from_pretrained(name, use_fast=True)
    except (OSError, ValueError) as error:
        raise NoEncoder(f"The encoder {name} cannot be had: {str(error).splitlines()[0]}") from None
    positions = getattr(model.config, "max_position_embeddings", max_length)
    if max_length > positions:
        raise NoEncoder(f"The encoder {name} reads {positions} tokens at most, not {max_length}.")
    # The pooler of a BERT belongs to its pre-training: no head of ours reads it.
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return Encoder(model, TextTokenizer(theirs.backend_tokenizer, max_length), theirs.pad_token_id or 0)
