"""Text to windows of token ids, with the checkpoint's own tokenizer.json; the same in training and serving.

A text longer than the model's window is read in windows that overlap. Every token is *owned* by the one
window in which it has the most context on both sides; what is said of it is said there, and only there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer


class NotATokenizer(Exception):
    """The file cannot be used; one sentence."""


@dataclass(frozen=True, slots=True)
class Window:
    """One sequence the encoder reads: specials, maybe a question, and a run of a document's tokens."""

    ids: np.ndarray
    """int64 [n], specials included."""
    begin: int
    """Where in ``ids`` the document's tokens begin."""
    first: int
    """Which of the document's tokens stands there."""
    count: int
    """How many of them follow."""
    owned: range
    """Those of the document's tokens that have their most context in this window."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text's tokens, cut into windows."""

    text: str
    offsets: np.ndarray
    """int64 [tokens, 2]: begin and end of each token in ``text``, in code points."""
    windows: tuple[Window, ...]

    @property
    def tokens(self) -> int:
        """What the encoder reads in all."""
        return sum(len(window.ids) for window in self.windows)


class TextTokenizer:
    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """``max_length``: tokens in a window, specials included."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.max_length = max_length
        single, pair = tokenizer.encode("a"), tokenizer.encode("a", "a")
        self._prefix, self._suffix = _specials(single, None, 0), _specials(single, 0, None)
        self._between, self._pair_suffix = _specials(pair, 0, 1), _specials(pair, 1, None)
        if not self._prefix:
            raise NotATokenizer("The tokenizer puts no token before a text, so there is none to classify by.")
        probe = tokenizer.encode("a a", add_special_tokens=False)
        self._takes_spaces = any(begin == 1 for begin, _ in probe.offsets)

    @classmethod
    def from_file(cls, file: Path, max_length: int) -> TextTokenizer:
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise NotATokenizer(f"{file} is not a tokenizer: {str(error).rstrip('.')}.") from None
        return cls(tokenizer, max_length)

    @property
    def last(self) -> int:
        """The greatest token id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @property
    def longest_question(self) -> int:
        """In tokens: half a window, so that there is as much room for the context."""
        return self.max_length // 2

    def to_json(self) -> str:
        return self._tokenizer.to_str(pretty=False)

    def texts(self, texts: Sequence[str]) -> list[Document]:
        """Runs without the GIL for most of its time; safe to call from several threads."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [
            self._document(text, encoding, self._prefix, self._suffix)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def questions(self, pairs: Sequence[tuple[str, str]]) -> list[Document | None]:
        """A document of each (question, context)'s context; None where the question is too long."""
        encodings = self._tokenizer.encode_batch(
            [text for pair in pairs for text in pair], add_special_tokens=False
        )
        documents: list[Document | None] = []
        for (_, context), question, encoding in zip(pairs, encodings[::2], encodings[1::2], strict=True):
            prefix = [*self._prefix, *question.ids, *self._between]
            fits = len(question.ids) <= self.longest_question
            documents.append(self._document(context, encoding, prefix, self._pair_suffix) if fits else None)
        return documents

    def _document(self, text: str, encoding: Encoding, prefix: list[int], suffix: list[int]) -> Document:
        ids = encoding.ids
        offsets = encoding.offsets
        if self._takes_spaces:  # SentencePiece: the space before a word is part of its first token
            offsets = [(b + 1 if text[b].isspace() and b + 1 < e else b, e) for b, e in offsets]
        room = self.max_length - len(prefix) - len(suffix)
        windows = tuple(
            Window(
                np.array([*prefix, *ids[start : start + room], *suffix], np.int64),
                begin=len(prefix),
                first=start,
                count=min(room, len(ids) - start),
                owned=owned,
            )
            for start, owned in spans(len(ids), room)
        )
        return Document(text, np.array(offsets, np.int64).reshape(len(ids), 2), windows)


def spans(count: int, room: int) -> list[tuple[int, range]]:
    """Where the windows of ``count`` tokens start, ``room`` in each, and the tokens each one owns.

    Neighbours overlap by half a window, the last two maybe by more.
    """
    if count <= room:
        return [(0, range(count))]
    step = max(1, room - room // 2)
    starts = [*range(0, count - room, step), count - room]
    # In the overlap of two windows the context of both is equal at its middle.
    borders = [
        0,
        *((start + room + after) // 2 for start, after in itertools.pairwise(starts)),
        count,
    ]
    return [(start, range(borders[i], borders[i + 1])) for i, start in enumerate(starts)]


def _specials(encoding: Encoding, after: int | None, before: int | None) -> list[int]:
    """The special tokens that stand after sequence ``after`` and before sequence ``before``."""
    sequences = encoding.sequence_ids
    begin = 0 if after is None else len(sequences) - sequences[::-1].index(after)
    end = len(sequences) if before is None else sequences.index(before)
    return encoding.ids[begin:end]
