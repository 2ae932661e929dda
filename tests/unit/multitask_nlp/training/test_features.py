"""Labels of windows: what the heads are trained to say."""

from __future__ import annotations

import numpy as np

from predictors.multitask_nlp.tokenizer import TextTokenizer
from predictors.multitask_nlp.training.examples import NerExample, QaExample, SentimentExample
from predictors.multitask_nlp.training.features import (
    IGNORED,
    collate,
    ner_features,
    qa_features,
    sentiment_features,
)


def test_a_word_is_labelled_at_its_first_sub_token(tokenizer: TextTokenizer) -> None:
    (feature,) = ner_features([NerExample(("Bo", "is", "in", "Rio"), (1, 0, 0, 5))], tokenizer)
    _ = IGNORED
    # [CLS] b o i s i n r i o [SEP]
    assert feature.labels.tolist() == [_, 1, _, 0, _, 0, _, 5, _, _, _]


def test_every_word_of_a_long_sentence_is_labelled_once(tokenizer: TextTokenizer) -> None:
    found = ner_features([NerExample(("ab",) * 40, tuple(range(9)) * 4 + (0,) * 4)], tokenizer)
    assert len(found) > 1
    labels = np.concatenate([feature.labels for feature in found])
    assert labels[labels != IGNORED].tolist() == [*(tuple(range(9)) * 4), 0, 0, 0, 0]


def test_an_answer_is_labelled_in_every_window_that_holds_all_of_it(tokenizer: TextTokenizer) -> None:
    ((window,),) = [document.windows for document in tokenizer.texts(["xyz"])]
    xyz = window.ids[1:-1].tolist()
    context = "a " * 60 + "xyz " + "b " * 60
    found = qa_features([QaExample("1", "q", context, (("xyz", 120),))], tokenizer)
    assert len(found) > 2
    answered = 0
    for feature in found:
        start, end = feature.labels
        if (start, end) != (0, 0):
            answered += 1
            assert end - start == 2
            assert feature.ids[start : end + 1].tolist() == xyz
    assert 0 < answered < len(found)


def test_what_the_context_does_not_answer_points_at_the_first_token(tokenizer: TextTokenizer) -> None:
    (feature,) = qa_features([QaExample("1", "q", "abc", ())], tokenizer)
    assert feature.labels.tolist() == [0, 0]


def test_a_batch_is_padded_and_masked(tokenizer: TextTokenizer) -> None:
    found = sentiment_features([SentimentExample("ab", 1), SentimentExample("abcd", 0)], tokenizer)
    batch = collate("sentiment", found)
    assert batch.input_ids.shape == (2, 6)
    assert batch.attention_mask.sum(1).tolist() == [4, 6]
    assert batch.labels.tolist() == [1, 0]
