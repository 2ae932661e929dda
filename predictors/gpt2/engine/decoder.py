"""All loaded models, driven a step at a time: sequences of every task join and leave between steps."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from predictors.gpt2.engine.sampling import Sampler, Sampling
from predictors.gpt2.engine.session import Part, Session
from predictors.gpt2.engine.text import GrowingText
from predictors.gpt2.shape import END_OF_TEXT
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.decoding import News
from predictors.runtime.errors import Internal

CHUNK = 128
"""Most prompt tokens in a pass: bounds how long those that are being decoded wait for it."""

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
    slot: int | None = None
    """Its place in the cache, once it has one."""
    read: int = 0
    """Prompt tokens in the cache."""
    tokens: list[int] = field(default_factory=list)
    """Generated so far; the last one is not in the cache yet."""

    @property
    def reading(self) -> bool:
        return self.read < len(self.work.ids)

    def next(self, room: int) -> Part:
        """What the next pass takes of it: a part of its prompt, as ``room`` allows, or its last token."""
        assert self.slot is not None
        if self.reading:
            return Part(self.slot, self.read, self.work.ids[self.read : self.read + room])
        return Part(self.slot, self.read + len(self.tokens) - 1, self.tokens[-1:])


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
    """The sequences of one model: each has a slot of its session's from its first step to its end."""

    def __init__(self, model: Model) -> None:
        self._session = model.session
        self._free = list(range(model.session.slots))
        self.waiting: deque[_Sequence] = deque()
        self._running: list[_Sequence] = []

    @property
    def empty(self) -> bool:
        return not (self.waiting or self._running)

    def remove(self, handle: int) -> None:
        for sequences in (self.waiting, self._running):
            for sequence in sequences:
                if sequence.handle == handle:
                    sequences.remove(sequence)
                    if sequence.slot is not None:
                        self._free.append(sequence.slot)
                    return

    def step(self) -> Iterator[News]:
        """One pass: the next token of all that are being decoded, and a chunk of prompts."""
        while self.waiting and self._free:
            sequence = self.waiting.popleft()
            sequence.slot = self._free.pop()
            self._running.append(sequence)
        taking, parts, room = [], [], CHUNK
        for sequence in self._running:
            part = sequence.next(room)
            if part.ids:
                taking.append(sequence)
                parts.append(part)
                room -= len(part.ids) if sequence.reading else 0
        logits = self._session.run(parts)
        for sequence, part, row in zip(taking, parts, logits, strict=True):
            if sequence.reading:
                sequence.read += len(part.ids)
            if not sequence.reading:
                yield self._told(sequence, row)

    def _told(self, sequence: _Sequence, logits: np.ndarray) -> News:
        if not np.isfinite(logits).all():
            return News(
                sequence.handle, outcome=Internal("The model's output for this prompt is not finite.")
            )
        if self._session.shape.classifies:
            return News(sequence.handle, outcome=_label(sequence.work, logits))
        return _continued(sequence, sequence.sampler.pick(logits))


def _continued(sequence: _Sequence, token: int) -> News:
    """What the next token means for a sequence."""
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


def _label(work: Work, logits: np.ndarray) -> Completion:
    powers = np.exp(logits - logits.max())
    label = int(np.argmax(logits))
    probability = float(powers[label] / powers.sum())
    return Completion(LABELS[label], "label", work.prompt_tokens, 0, work.truncated, probability)
