"""From a pupil's text to the tokens the model reads, within its context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

from predictors.runtime.errors import LoadError
from predictors.text_evaluator import prompt
from predictors.text_evaluator.evaluation import TOO_LONG, UNREADABLE, Item, ItemError

TOKENIZER_NAME = "tokenizer.json"
LEAST_READ = 32
"""Tokens of a text that must be read when it is truncated: with fewer it is ``too_long``. A mark for nothing
of what the pupil wrote would be an invented one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the engine gets: ``ids`` with exactly one BOS, and what was done to the text on the way."""

    ids: list[int]
    truncated: bool
    neutralised: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A text that the engine does not get."""

    error: ItemError
    neutralised: int


Work = Reading | Refusal


class Reader:
    """``room``: tokens that a prompt may have. Thread-safe."""

    def __init__(self, folder: Path, room: int, on_too_long: Literal["refuse", "truncate"]) -> None:
        path = folder / TOKENIZER_NAME
        if not path.is_file():
            raise LoadError(f"{path} is missing.")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise LoadError(f"{path} cannot be read as a tokenizer.") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        names = (prompt.BOS, prompt.START, prompt.END)
        found = {text: n for text in names if (n := self._tokenizer.token_to_id(text)) is not None}
        if missing := [text for text in names if text not in found]:
            raise LoadError(f"{path} has no token {', '.join(missing)}: it is not a Gemma tokenizer.")
        self._bos = found[prompt.BOS]
        # By the tokenizer's own word too: what neutralising does not know is found all the same.
        special = {n for n, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        self._control = {*special, *found.values()} | {
            number
            for text, number in self._tokenizer.get_vocab().items()
            if prompt.CONTROL.fullmatch(text) and not text.startswith("<0x")
        }
        self._expected = [found[prompt.START], found[prompt.END], found[prompt.START]]
        self._room, self._truncates = room, on_too_long == "truncate"

    def read(self, item: Item) -> Work:
        asked = prompt.build(item.curso, item.consigna, item.respuesta)
        ids = self._encode(str(asked))
        truncated = False
        too_long = ItemError("too_long", f"{TOO_LONG} {len(ids)} tokens, {self._room} are possible.")
        refused = Refusal(too_long, asked.neutralised)
        while len(ids) > self._room:
            over = len(ids) - self._room
            if not self._truncates or not asked.text:
                return refused
            truncated = True
            # Where a word is cut its pieces may become one more: then again.
            asked = asked._replace(text=_without_end(self._tokenizer, asked.text, over))
            ids = self._encode(str(asked))
        if truncated and len(self._encode(asked.text)) - 1 < LEAST_READ:
            return refused
        if [number for number in ids[1:] if number in self._control] != self._expected:
            # Neutralising has failed on this text: rather no mark than one that the text dictated.
            return Refusal(ItemError("unreadable", UNREADABLE), asked.neutralised)
        return Reading(ids, truncated, asked.neutralised)

    def _encode(self, text: str) -> list[int]:
        return [self._bos, *self._tokenizer.encode(text, add_special_tokens=False).ids]


def _without_end(tokenizer: Tokenizer, text: str, tokens: int) -> str:
    """The text without its last ``tokens`` tokens."""
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    kept = max(0, len(offsets) - tokens)
    return text[: offsets[kept][0]] if kept < len(offsets) else text[:-1]
