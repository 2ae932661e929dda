"""Exact match and F1 of answers, computed as the SQuAD v1.1 evaluation script does."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and superfluous spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, reference: str) -> float:
    return float(normalised(answer) == normalised(reference))


def f1(answer: str, reference: str) -> float:
    """Over the multisets of words; of two empty texts 1."""
    said, wanted = normalised(answer).split(), normalised(reference).split()
    if not said or not wanted:
        return float(said == wanted)
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted))


def scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Mean exact match and F1, 0 to 100; each answer against the reference that suits it best.

    No reference means that the text does not answer: then the empty answer is right.
    """

    def mean(measure: Callable[[str, str], float]) -> float:
        best = [
            max(measure(answer, reference) for reference in (wanted or [""]))
            for answer, wanted in zip(answers, references, strict=True)
        ]
        return 100 * sum(best) / max(1, len(best))

    return mean(exact_match), mean(f1)
