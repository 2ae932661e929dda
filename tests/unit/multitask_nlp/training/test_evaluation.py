"""The loss of an evaluation is the loss that training lowers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from predictors.multitask_nlp.tokenizer import TextTokenizer
from predictors.multitask_nlp.training.evaluation import evaluate, reader
from predictors.multitask_nlp.training.examples import NerExample, QaExample, SentimentExample, Split
from predictors.multitask_nlp.training.features import collate, features
from predictors.multitask_nlp.training.model import MultitaskModel, task_loss
from tests.support.multitask_nlp import LENGTH, make_tokenizer


def test_the_loss_is_trainings_own(make_model: Callable[..., MultitaskModel]) -> None:
    """Windows of several lengths, words of several tokens, an answer and none."""
    split = Split(
        [SentimentExample("good", 1), SentimentExample("bad " * 60, 0)],
        [NerExample(("bo", "is", "here"), (1, 0, 0)), NerExample(("no",), (0,))],
        [QaExample("1", "where?", "he is in rome", (("rome", 9),)), QaExample("2", "who?", "nobody", ())],
    )
    tokenizer, model = TextTokenizer(make_tokenizer(), LENGTH), make_model().eval()
    losses = []
    for task, labelled in features(split, tokenizer).items():
        batch = collate(task, labelled)
        with torch.no_grad():
            outputs = model(batch.input_ids, batch.attention_mask)
            # Padding is hidden by the reader, which cuts it off.
            hidden = [part.masked_fill(batch.attention_mask == 0, -torch.inf) for part in outputs[2:]]
            losses.append(
                float(task_loss(task, outputs._replace(start=hidden[0], end=hidden[1]), batch.labels))
            )
    found = evaluate(reader(model), tokenizer, split).eval_loss
    assert found == pytest.approx(sum(losses) / 3, rel=1e-4)
    assert found > 0
