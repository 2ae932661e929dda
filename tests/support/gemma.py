"""A Gemma-like tokenizer for tests: the control tokens as in Gemma, a character a piece."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from predictors.text_evaluator.demo.tokenizer import train
from predictors.text_evaluator.prompt import INSTRUCTION


@cache
def tokenizer() -> Tokenizer:
    return train([INSTRUCTION] * 10, 400)


def write_tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder
