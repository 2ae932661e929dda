"""Prompts to token ids, with the checkpoint's own tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from predictors.runtime.errors import LoadError

MAX_TOKENS = 512
"""The published context, [CLS] and [SEP] included."""
MAX_WINDOWS = 64
"""Most windows one prompt is read in: about 32,000 tokens, a few seconds of a CPU."""


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    windows: tuple[np.ndarray, ...]
    """Token ids (int32) with [CLS] and [SEP], 2 to 512 each; one window unless long prompts are windowed."""
    truncated: bool
    """Whether the model sees less than the whole prompt."""

    @property
    def too_long(self) -> bool:
        return len(self.windows) > MAX_WINDOWS

    @property
    def tokens(self) -> int:
        return sum(len(window) for window in self.windows)


class PromptTokenizer:
    def __init__(self, file: Path, *, windowed: bool = False) -> None:
        """Raises LoadError when ``file`` is not a tokenizer with [CLS] and [SEP]."""
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise LoadError(f"{file} is not a tokenizer: {error}.") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._cls, self._sep = self._special("[CLS]", file), self._special("[SEP]", file)
        self._windowed = windowed

    @property
    def last(self) -> int:
        """The greatest token id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def encode(self, prompts: Sequence[str]) -> list[TokenizedPrompt]:
        """Runs without the GIL for most of its time; safe to call from several threads."""
        encodings = self._tokenizer.encode_batch_fast(list(prompts), add_special_tokens=False)
        return [self._windows(encoding.ids) for encoding in encodings]

    def _windows(self, ids: list[int]) -> TokenizedPrompt:
        room = MAX_TOKENS - 2
        truncated = len(ids) > room and not self._windowed
        starts = range(0, max(len(ids), 1), room) if not truncated else (0,)
        windows = tuple(
            np.array([self._cls, *ids[start : start + room], self._sep], dtype=np.int32) for start in starts
        )
        return TokenizedPrompt(windows, truncated)

    def _special(self, token: str, file: Path) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise LoadError(f"{file} has no {token} token.")
        return number
