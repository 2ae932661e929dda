"""A tokenizer of whole words and single characters: small enough to see what happens."""

# The library's setters are not in its stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from predictors.multitask_nlp.tokenizer import TextTokenizer

CLS, SEP, UNK = 1, 2, 3
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]


def make_tokenizer() -> Tokenizer:
    """WordPiece as BERT's: lower case, accents stripped, every letter a token or a continuation."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"-&$日本語"
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


@pytest.fixture
def tokenizer() -> TextTokenizer:
    return TextTokenizer(make_tokenizer(), max_length=32)
