"""All loaded models, driven a step at a time: sequences of every task join and leave between steps."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from predictors.gpt2.engine.sampling import Sampler, Sampling
from predictors.gpt2.engine.session import MAX_TOP, Session, Top
from predictors.gpt2.engine.text import GrowingText
from predictors.gpt2.shape import END_OF_TEXT
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.decoding import News
from predictors.runtime.errors import Internal, ServiceError

CHUNK = 128
"""Prompt tokens read between two steps of those that are being decoded: bounds how long these wait."""

LABELS = ("not spam", "spam")


@dataclass(eq=False)
class Model:
    """One loaded artifact."""

    name: str
    session: Session
    tokenizer: TextTokenizer
    checksum: str


@dataclass(frozen=True)
class Work:
    """A prompt as tokens, and what is wanted of it."""

    model: Model
    ids: Sequence[int]
    max_new_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = ()
    echo: bool = False
    truncated: bool = False
    """Whether the prompt's beginning was cut off to fit the context."""
    prompt_tokens: int = 0
    """Tokens of the prompt itself, without padding."""

    @property
    def tokens(self) -> int:
        return len(self.ids) + self.max_new_tokens


@dataclass(frozen=True)
class Completion:
    text: str
    finish_reason: str
    """``stop`` (end of text or a stop string), ``length``, or ``label`` of a classifier."""
    prompt_tokens: int
    completion_tokens: int
    truncated: bool
    probability: float | None = None
    """Of the label, from a classifier."""


@dataclass(eq=False)
class _Sequence:
    handle: int
    work: Work
    sampler: Sampler
    text: GrowingText
    read: int = 0
    """Prompt tokens in the cache."""
    tokens: list[int] = field(default_factory=list)
    """Generated so far; the last one is not in the cache yet."""

    @property
    def length(self) -> int:
        """Tokens in the cache, while decoding."""
        return self.read + len(self.tokens) - 1


class TextDecoder:
    """A Decoder of the runtime's; at most as many sequences at a time as a session has slots."""

    def __init__(self) -> None:
        self._batches: dict[Model, _Batch] = {}
        self._handles = itertools.count()
        self._owners: dict[int, Model] = {}

    def join(self, work: Work) -> int:
        handle = next(self._handles)
        stream = work.model.tokenizer.stream()
        sequence = _Sequence(handle, work, Sampler(work.sampling), GrowingText(stream, work.stop))
        self._batches.setdefault(work.model, _Batch(work.model)).waiting.append(sequence)
        self._owners[handle] = work.model
        return handle

    def leave(self, handle: int) -> None:
        model = self._owners.pop(handle)
        batch = self._batches[model]
        batch.remove(handle)
        if batch.empty:  # a model nobody uses may be let go
            del self._batches[model]

    def step(self) -> Iterator[News]:
        for batch in list(self._batches.values()):
            for news in batch.step():
                if news.outcome is not None:
                    self.leave(news.handle)  # type: ignore[arg-type]
                yield news


class _Batch:
    """The sequences of one model. Those being decoded have the first slots, the one being read the next."""

    def __init__(self, model: Model) -> None:
        self._session = model.session
        self.waiting: deque[_Sequence] = deque()
        self._reading: _Sequence | None = None
        self._decoding: list[_Sequence] = []

    @property
    def empty(self) -> bool:
        return not (self.waiting or self._reading or self._decoding)

    def remove(self, handle: int) -> None:
        for sequence in self.waiting:
            if sequence.handle == handle:
                self.waiting.remove(sequence)
                return
        if self._reading and self._reading.handle == handle:
            self._reading = None
            return
        decoding, move = self._decoding, self._session.move
        slot = next(slot for slot, sequence in enumerate(decoding) if sequence.handle == handle)
        last = len(decoding) - 1
        if slot < last:
            move(last, slot, decoding[last].length)
            decoding[slot] = decoding[last]
        decoding.pop()
        if self._reading:
            move(last + 1, last, self._reading.read)

    def step(self) -> Iterator[News]:
        """Whoever ends must have left before the next news is asked for."""
        # Reading first: a newcomer then takes part in this very step.
        yield from self._read()
        yield from self._extend()

    def _extend(self) -> list[News]:
        decoding = self._decoding
        if not decoding:
            return []
        greedy = all(sequence.sampler.greedy for sequence in decoding)
        top = self._session.extend(
            [sequence.tokens[-1] for sequence in decoding],
            [sequence.length for sequence in decoding],
            1 if greedy else MAX_TOP,
        )
        return [self._next(sequence, top, row) for row, sequence in enumerate(decoding)]

    def _read(self) -> list[News]:
        """A chunk of prompts: the rest of one, and of the next ones while there is room."""
        news: list[News] = []
        room = CHUNK
        while room and (self._reading or self.waiting):
            sequence = self._reading = self._reading or self.waiting.popleft()
            work = sequence.work
            part = work.ids[sequence.read : sequence.read + room]
            top = self._session.read(
                len(self._decoding), part, sequence.read, 1 if sequence.sampler.greedy else MAX_TOP
            )
            sequence.read += len(part)
            room -= len(part)
            if sequence.read == len(work.ids):
                if self._session.shape.classifies:
                    news.append(News(sequence.handle, outcome=_label(work, top)))
                    break  # it leaves as the one being read
                self._reading = None
                self._decoding.append(sequence)
                news.append(self._next(sequence, top, 0))
        return news

    def _next(self, sequence: _Sequence, top: Top, row: int) -> News:
        """What the next token means for a sequence."""
        if not np.isfinite(top.logits[row, 0]):
            return News(
                sequence.handle, outcome=Internal("The model's output for this prompt is not finite.")
            )
        token = sequence.sampler.pick(top.logits[row], top.ids[row])
        sequence.tokens.append(token)
        work, text, count = sequence.work, sequence.text, len(sequence.tokens)
        piece = work.model.tokenizer.decode(list(work.ids)) if work.echo and count == 1 else ""
        ended = token == END_OF_TEXT
        if not ended:
            piece += text.push(token)
            ended = text.stopped
        if not ended and count < work.max_new_tokens:
            return News(sequence.handle, 1, piece or None)
        piece += text.end()
        prompt = work.model.tokenizer.decode(list(work.ids)) if work.echo else ""
        outcome = Completion(
            prompt + text.text, "stop" if ended else "length", work.prompt_tokens, count, work.truncated
        )
        return News(sequence.handle, 1, piece or None, outcome)


def _label(work: Work, top: Top) -> Completion | ServiceError:
    logits = top.logits[0]
    if not np.isfinite(logits).all():
        return Internal("The model's output for this prompt is not finite.")
    powers = np.exp(logits - logits.max())
    label = int(np.argmax(logits))
    probability = float(powers[label] / powers.sum())
    return Completion(LABELS[label], "label", work.prompt_tokens, 0, work.truncated, probability)
