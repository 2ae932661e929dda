"""Whether a quantised engine says what the exact one says, on prompts of all kinds, for these very weights.

How much 8 bits cost depends on the weights, so it is measured at load and not promised in advance.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictors.prompt_classifier.scoring import Classification
from predictors.runtime.errors import ServiceError

TOLERANCE = 0.03
"""Most a probability or a score from 0 to 1 may differ; few shots, from 0 to 5, five times that."""

_SCORES = (
    "task_type_prob",
    "creativity_scope",
    "reasoning",
    "contextual_knowledge",
    "domain_knowledge",
    "constraint_ct",
)

PROMPTS = (
    "Write a Python script that uses a for loop.",
    "What is the capital of France?",
    "Summarize the following article in two sentences: The council met to discuss the budget.",
    "Translate this sentence into formal English: gonna be late, sorry!",
    "Give me ten ideas for a birthday party for a six-year-old who loves dinosaurs.",
    "Classify the sentiment of this review as positive or negative: The battery died after two days.",
    "Extract all dates and names from the text: On 3 May 1921 Ada Moss sailed for Lisbon with J. Prado.",
    "Hi there! I had a rough day at work and just want to chat.",
    "Write a short story about a lighthouse keeper who finds a letter in a bottle. Use at most 200 words.",
    "Explain step by step why the sum of two odd numbers is even.",
    "According to the passage, who signed the treaty? Passage: The treaty was signed by Queen Anna in 1702.",
    "Rewrite the paragraph below so that it sounds more confident. I think our product may be useful.",
    "Great movie -> positive\nBoring plot -> negative\nI loved the music -> positive\nThe seats were hard ->",
    "Derive the variance of the maximum likelihood estimator under misspecification, with all conditions.",
    "SELECT name FROM users WHERE id = 3; what does this query do, and which index would make it faster?",
    "Write a haiku.",
)


Result = Classification | ServiceError


def disagreement(found: Sequence[Result], exact: Sequence[Result]) -> str | None:
    """The first prompt on which the two differ beyond the tolerance, in a few words, or None."""
    for number, (ours, theirs) in enumerate(zip(found, exact, strict=True)):
        if isinstance(ours, ServiceError) or isinstance(theirs, ServiceError):
            return f"prompt {number} has no finite answer"
        for name in _SCORES:
            if abs(getattr(ours, name) - getattr(theirs, name)) > TOLERANCE:
                return f"{name} of prompt {number} is {getattr(ours, name)}, not {getattr(theirs, name)}"
        if abs(ours.number_of_few_shots - theirs.number_of_few_shots) > 5 * TOLERANCE:
            return f"number_of_few_shots of prompt {number} differs"
        tie = theirs.task_type_prob < 0.5 + TOLERANCE and ours.task_type_1 == theirs.task_type_2
        if ours.task_type_1 != theirs.task_type_1 and not tie:
            return f"the task of prompt {number} is {ours.task_type_1}, not {theirs.task_type_1}"
    return None
