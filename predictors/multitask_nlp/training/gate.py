"""Whether the quantised model may be registered: what 8 bits cost on the evaluation set, against bounds."""

from __future__ import annotations

from dataclasses import dataclass

from predictors.multitask_nlp.training.evaluation import Metrics


class GateClosed(Exception):
    """The quantised model is too much worse than the exact one; one sentence with the figures."""


@dataclass(frozen=True)
class Drops:
    """Most that each metric may fall from fp32 to int8, in its own unit."""

    sentiment_accuracy: float = 0.01
    ner_f1: float = 0.01
    qa_exact_match: float = 1.5
    qa_f1: float = 1.0


def check(exact: Metrics, quantised: Metrics, drops: Drops) -> None:
    """Raises GateClosed."""
    worse = [
        f"{name} falls from {before:.4g} to {after:.4g}, at most {most:g} is allowed"
        for name, most in vars(drops).items()
        if (before := getattr(exact, name)) - (after := getattr(quantised, name)) > most
    ]
    if worse:
        raise GateClosed(f"The quantised model is not registered: {'; '.join(worse)}.")
