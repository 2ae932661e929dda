"""The encoder and its tokenizer, by name or from a folder."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from predictors.multitask_nlp.tokenizer import NotATokenizer, TextTokenizer


class NoEncoder(Exception):
    """The encoder cannot be had; one sentence."""


@dataclass(frozen=True)
class Encoder:
    model: PreTrainedModel
    tokenizer: TextTokenizer
    pad_id: int


def load_encoder(name: str, max_length: int) -> Encoder:
    """``name``: a folder, a package that carries a model, or a model on the hub. Raises NoEncoder."""
    logging.set_verbosity_error()  # it warns of every head that the checkpoint has and we do not take
    logging.disable_progress_bar()
    place = _in_package(name) or name
    try:
        model = AutoModel.from_pretrained(place)
        theirs = AutoTokenizer.from_pretrained(place, use_fast=True)
    except (OSError, ValueError) as error:
        raise NoEncoder(f"The encoder {name} cannot be had: {str(error).splitlines()[0]}") from None
    # RoBERTa's table has two positions more than it reads; its tokenizer says the true number.
    longest = min(getattr(model.config, "max_position_embeddings", max_length), theirs.model_max_length)
    if max_length > longest:
        raise NoEncoder(f"The encoder {name} reads {longest} tokens at most, not {max_length}.")
    try:
        tokenizer = TextTokenizer(theirs.backend_tokenizer, max_length)
    except NotATokenizer as error:
        raise NoEncoder(f"The encoder {name} cannot be used: {error}") from None
    # The pooler of a BERT belongs to its pre-training: no head of ours reads it.
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return Encoder(model, tokenizer, theirs.pad_token_id or 0)


def _in_package(name: str) -> str | None:
    """The folder ``model`` of a package of that name, which is looked up and not imported."""
    if "/" in name or Path(name).is_dir():
        return None
    found = importlib.util.find_spec(name.replace("-", "_"))
    folder = Path(found.origin).parent / "model" if found and found.origin else None
    return str(folder) if folder and folder.is_dir() else None
