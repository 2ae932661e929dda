"""The sentiment of a text from its windows' logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predictors.multitask_nlp.decoding.probabilities import softmax
from predictors.multitask_nlp.tasks import SENTIMENTS, Sentiment
from predictors.multitask_nlp.tokenizer import Document


def sentiment(document: Document, logits: Sequence[np.ndarray]) -> Sentiment:
    """``logits``: [2] of each window. Windows count by the tokens they own."""
    weights = [max(1, len(window.owned)) for window in document.windows]
    probabilities = softmax(np.average(logits, axis=0, weights=weights))
    best = int(probabilities.argmax())
    return Sentiment(SENTIMENTS[best], float(probabilities[best]))
