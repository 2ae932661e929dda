"""The three tasks: what is asked of a text, and what is answered. Offsets count code points."""

from __future__ import annotations

from dataclasses import dataclass

TASKS = ("sentiment", "ner", "qa")

SENTIMENTS = ("negative", "positive")
"""Class i of the sentiment head, as published."""
NER_LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
"""Class i of the NER head: CoNLL-2003's, as published."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a caller asks of one text; fields that its tasks do not need are empty."""

    tasks: tuple[str, ...]
    """Some of TASKS, each once."""
    text: str = ""
    """For sentiment and ner."""
    question: str = ""
    context: str = ""
    """For qa."""


@dataclass(frozen=True, slots=True)
class Sentiment:
    sentiment: str
    score: float
    """Probability of that class, 0.5 to 1."""


@dataclass(frozen=True, slots=True)
class Entity:
    text: str
    type: str
    score: float
    """Mean over the entity's words of the probability of the label each has."""
    start_char: int
    end_char: int


@dataclass(frozen=True, slots=True)
class Answer:
    answer: str
    """``context[start_char:end_char]``; empty when the context does not answer."""
    start_char: int
    end_char: int
    score: float
    """Probability among all spans the context allows and no answer at all."""
    no_answer: bool


@dataclass(frozen=True, slots=True)
class Analysis:
    """The answers of the tasks that were asked for."""

    sentiment: Sentiment | None = None
    entities: tuple[Entity, ...] | None = None
    answer: Answer | None = None
