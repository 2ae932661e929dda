"""An encoder by folder or by package; what cannot be had or read is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from predictors.multitask_nlp.training.encoders import NoEncoder, load_encoder
from predictors.multitask_nlp.training.made.recipe import ENCODER
from tests.support.multitask_nlp import write_encoder


def test_a_folder(encoder_folder: Path) -> None:
    encoder = load_encoder(str(encoder_folder), 64)
    assert encoder.model.config.hidden_size == 32
    assert (encoder.tokenizer.max_length, encoder.pad_id) == (64, 0)
    (document,) = encoder.tokenizer.texts(["ab"])
    assert len(document.windows[0].ids) == 4


def test_a_package_that_carries_one() -> None:
    assert load_encoder(ENCODER, 128).model.config.hidden_size == 384


def test_what_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(NoEncoder, match="nowhere cannot be had"):
        load_encoder(str(tmp_path / "nowhere"), 64)


def test_more_tokens_than_it_reads(encoder_folder: Path) -> None:
    with pytest.raises(NoEncoder, match="reads 64 tokens at most, not 65"):
        load_encoder(str(encoder_folder), 65)


def test_a_tokenizer_that_puts_nothing_before_a_text(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "post_processor": None}))
    with pytest.raises(NoEncoder, match=r"cannot be used: .*none to classify by\.$"):
        load_encoder(str(tmp_path), 64)
