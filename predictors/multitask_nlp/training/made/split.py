"""The made data of all three tasks."""

from __future__ import annotations

from predictors.multitask_nlp.training.examples import Split
from predictors.multitask_nlp.training.made.ner import make_ner
from predictors.multitask_nlp.training.made.qa import make_qa
from predictors.multitask_nlp.training.made.sentiment import make_sentiment
from predictors.multitask_nlp.training.made.wordings import SplitName


def make_split(split: SplitName, sentiment: int, ner: int, qa: int, seed: int) -> Split:
    """So many examples of each task, the same ones for the same seed."""
    return Split(make_sentiment(sentiment, split, seed), make_ner(ner, split, seed), make_qa(qa, split, seed))
