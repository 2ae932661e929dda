"""The mock: the published canned answers and token arithmetic. It says in ``model`` that it is one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from predictors.gpt4_nano.backends.rows import Audience, Cancelled, Completion, Outcome, Row

MODEL = "gpt4_nano (mock)"

# In this order: the first word found in the prompt decides.
ANSWERS = (
    (
        "machine learning",
        "Machine learning is a subset of artificial intelligence (AI) that enables computers to learn and "
        "improve from experience without being explicitly programmed. It involves algorithms that can "
        "identify patterns in data and make predictions or decisions based on that analysis.",
    ),
    (
        "python",
        "Python is a high-level, interpreted programming language known for its simplicity and readability. "
        "It's widely used in data science, web development, automation, and artificial intelligence "
        "applications.",
    ),
    (
        "triton",
        "Triton Inference Server is an open-source inference serving software that enables teams to deploy "
        "AI models from multiple frameworks at scale. It provides optimized performance for both CPU and "
        "GPU inference.",
    ),
)
OTHERWISE = (
    "I understand you're asking about: '{}...' This is a response from GPT-4.1 nano running on Triton "
    "Inference Server. The model is designed to provide helpful and informative responses to your queries."
)
TOKENS_PER_WORD = 1.3


class Mock:
    """``seconds``: what a batch takes, however many rows it has, for trials of load; by default nothing."""

    remote = False

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    def generate(self, rows: Sequence[Row], audience: Audience) -> Sequence[Outcome]:
        if self._seconds:
            time.sleep(self._seconds)
        outcomes: list[Outcome] = []
        for index, row in enumerate(rows):
            if audience.gone(index):
                outcomes.append(Cancelled())
                continue
            completion = answer(row)
            for piece in pieces(completion.response):
                audience.piece(index, piece)
            outcomes.append(completion)
        return outcomes

    def close(self) -> None:
        """Nothing is held."""


def answer(row: Row) -> Completion:
    lowered = row.prompt.lower()
    text = next((text for word, text in ANSWERS if word in lowered), OTHERWISE.format(row.prompt[:50]))
    tokens, finish_reason = int(len(text.split()) * TOKENS_PER_WORD), "stop"
    if tokens >= row.max_tokens:
        text = " ".join(text.split()[: int(row.max_tokens / TOKENS_PER_WORD)]) + "..."
        tokens, finish_reason = row.max_tokens, "length"
    ends = [at for stop in row.stop if (at := text.find(stop)) >= 0]
    if ends:
        text, finish_reason = text[: min(ends)], "stop"
        tokens = min(tokens, int(len(text.split()) * TOKENS_PER_WORD))
    prompt_tokens = int(len(row.prompt.split()) * TOKENS_PER_WORD)
    return Completion(text, tokens, prompt_tokens, finish_reason, MODEL)


def pieces(text: str) -> list[str]:
    """Word by word, each with the space before it, so that they join to the text."""
    words = text.split(" ")
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)]
