"""What the heads' logits mean, on logits made by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.multitask_nlp.decoding.ner import entities, first_tokens
from predictors.multitask_nlp.decoding.probabilities import softmax
from predictors.multitask_nlp.decoding.qa import answer
from predictors.multitask_nlp.decoding.sentiment import sentiment
from predictors.multitask_nlp.tasks import NER_LABELS, Answer
from predictors.multitask_nlp.tokenizer import Document, TextTokenizer
from predictors.multitask_nlp.words import words


def test_softmax_of_any_size() -> None:
    assert softmax(np.array([1e4, 1e4 - np.log(3)], np.float32)) == pytest.approx([0.75, 0.25], abs=1e-3)
    assert softmax(np.array([-1e38, 0.0], np.float32)).tolist() == [0.0, 1.0]


class TestSentiment:
    def test_the_likelier_class_with_its_probability(self, tokenizer: TextTokenizer) -> None:
        (document,) = tokenizer.texts(["fine"])
        found = sentiment(document, [np.array([0.0, np.log(4)], np.float32)])
        assert (found.sentiment, found.score) == ("positive", pytest.approx(0.8))

    def test_windows_count_by_the_tokens_they_own(self, tokenizer: TextTokenizer) -> None:
        (document,) = tokenizer.texts(["ab " * 20])
        owned = [len(window.owned) for window in document.windows]
        assert len(owned) == 2
        rows = [np.array([0.0, 1.0], np.float32), np.array([1.0, 0.0], np.float32)]
        difference = (owned[0] - owned[1]) / sum(owned)
        found = sentiment(document, rows)
        assert found.score == pytest.approx(1 / (1 + np.exp(-abs(difference))))


def labelled(document: Document, labels: dict[str, str], wrong: str = "B-MISC") -> list[np.ndarray]:
    """Logits that give each word's first token its label (O for others) and every other token ``wrong``."""
    spans = words(document.text)
    first = dict(zip(first_tokens(document, spans).tolist(), spans, strict=True))
    rows = []
    for window in document.windows:
        row = np.full((len(window.ids), len(NER_LABELS)), -5.0, np.float32)
        row[:, NER_LABELS.index(wrong)] = 5.0
        for token in range(window.first, window.first + window.count):
            if token in first:
                begin, end = first[token]
                at = window.begin + token - window.first
                row[at] = -5.0
                row[at, NER_LABELS.index(labels.get(document.text[begin:end], "O"))] = 5.0
        rows.append(row)
    return rows


def found(tokenizer: TextTokenizer, text: str, labels: dict[str, str]) -> list[tuple[str, str]]:
    (document,) = tokenizer.texts([text])
    result = entities(document, labelled(document, labels))
    for entity in result:
        assert entity.text == text[entity.start_char : entity.end_char]
        assert 0.99 < entity.score <= 1
    return [(entity.text, entity.type) for entity in result]


class TestEntities:
    def test_the_published_example(self, tokenizer: TextTokenizer) -> None:
        """Whole words whatever the later sub-tokens say, with the period of the abbreviation."""
        text = "Apple Inc. is planning to open a new office in London."
        (document,) = tokenizer.texts([text])
        result = entities(
            document, labelled(document, {"Apple": "B-ORG", "Inc.": "I-ORG", "London": "B-LOC"})
        )
        assert [(e.text, e.type, e.start_char, e.end_char) for e in result] == [
            ("Apple Inc.", "ORG", 0, 10),
            ("London", "LOC", 47, 53),
        ]

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ({}, []),
            ({"ab": "B-PER", "cd": "I-PER"}, [("ab cd", "PER")]),
            ({"ab": "B-PER", "cd": "B-PER"}, [("ab", "PER"), ("cd", "PER")]),
            ({"ab": "I-PER", "cd": "I-PER"}, [("ab cd", "PER")]),
            ({"ab": "B-PER", "cd": "I-LOC"}, [("ab", "PER"), ("cd", "LOC")]),
            ({"cd": "I-ORG"}, [("cd", "ORG")]),
            ({"ab": "B-PER", "ef": "I-PER"}, [("ab", "PER"), ("ef", "PER")]),
            ({"gh": "B-MISC"}, [("gh", "MISC")]),
        ],
    )
    def test_runs_of_labels(
        self, tokenizer: TextTokenizer, labels: dict[str, str], expected: list[tuple[str, str]]
    ) -> None:
        assert found(tokenizer, "ab cd ef gh", labels) == expected

    @pytest.mark.parametrize(
        ("text", "word", "entity"),
        [
            ("👍🏽 ok Bo", "Bo", "Bo"),
            ("in cafe\u0301 now", "cafe\u0301", "cafe\u0301"),
            ("語 日 語", "日", "日"),
            ("\u202bbo\u202c hi", "\u202bbo\u202c", "\u202bbo\u202c"),
        ],
    )
    def test_offsets_are_code_points_and_cut_no_character(
        self, tokenizer: TextTokenizer, text: str, word: str, entity: str
    ) -> None:
        assert found(tokenizer, text, {word: "B-LOC"}) == [(entity, "LOC")]

    def test_an_entity_over_the_border_of_two_windows(self, tokenizer: TextTokenizer) -> None:
        text = " ".join(["aa"] * 12 + ["new", "york"] + ["aa"] * 12)
        assert found(tokenizer, text, {"new": "B-LOC", "york": "I-LOC"}) == [("new york", "LOC")]

    def test_the_score_is_the_mean_over_words(self, tokenizer: TextTokenizer) -> None:
        (document,) = tokenizer.texts(["ab cd"])
        row = np.full((6, len(NER_LABELS)), -1e9, np.float32)
        row[:, 0] = 0.0
        row[1, [0, 1]] = (0.0, np.log(3))  # B-PER: 0.75
        row[3, [0, 2]] = (0.0, np.log(9))  # I-PER: 0.9
        (entity,) = entities(document, [row])
        assert (entity.text, entity.type, entity.score) == ("ab cd", "PER", pytest.approx(0.825))

    def test_nothing_in_nothing(self, tokenizer: TextTokenizer) -> None:
        (document,) = tokenizer.texts([" \0 "])
        assert entities(document, [np.zeros((2, 9), np.float32)]) == ()


def asked(tokenizer: TextTokenizer, context: str, question: str = "q") -> Document:
    (document,) = tokenizer.questions([(question, context)])
    assert document is not None
    return document


def brute_force(document: Document, starts: list[np.ndarray], ends: list[np.ndarray], most: int) -> Answer:
    """Every span by a loop: the definition."""
    scores: dict[tuple[int, int], float] = {}
    for window, start, end in zip(document.windows, starts, ends, strict=True):
        for first in window.owned:
            for last in range(first, min(first + most, window.first + window.count)):
                i, j = (window.begin + token - window.first for token in (first, last))
                scores[first, last] = float(start[i]) + float(end[j]) - float(start[0]) - float(end[0])
    total = 1 + sum(np.exp(score) for score in scores.values())
    best = max(scores, key=scores.__getitem__, default=None)
    if best is None or scores[best] <= 0:
        return Answer("", 0, 0, 1 / total, True)
    begin, end = int(document.offsets[best[0]][0]), int(document.offsets[best[1]][1])
    return Answer(document.text[begin:end], begin, end, np.exp(scores[best]) / total, False)


class TestAnswer:
    def test_the_best_span_of_the_context_as_it_is_written(self, tokenizer: TextTokenizer) -> None:
        document = asked(tokenizer, "Bo's CAFE\u0301 is big")
        start, end = np.zeros(32, np.float32), np.zeros(32, np.float32)
        begin = document.windows[0].begin
        start[begin + 4] = end[begin + 7] = 9.0  # c ... e
        result = answer(
            document, [start[: len(document.windows[0].ids)]], [end[: len(document.windows[0].ids)]], 30
        )
        assert (result.answer, result.start_char, result.end_char) == ("CAFE\u0301", 5, 10)
        assert 0.9 < result.score < 1

    def test_an_answer_that_begins_at_a_mark_has_its_letter(self, tokenizer: TextTokenizer) -> None:
        """A spacing vowel sign is a token of its own to such tokenizers."""
        document = asked(tokenizer, "यह हिन् है")
        marks = [i for i, (begin, _) in enumerate(document.offsets) if document.text[begin] == "\u093f"]
        assert len(marks) == 1
        window = document.windows[0]
        start, end = np.zeros(len(window.ids), np.float32), np.zeros(len(window.ids), np.float32)
        start[window.begin + marks[0]] = end[window.begin + marks[0] + 1] = 9.0
        result = answer(document, [start], [end], 30)
        assert result.answer == document.text[result.start_char : result.end_char] == "हिन्"

    def test_neither_question_nor_specials_nor_a_backward_span(self, tokenizer: TextTokenizer) -> None:
        document = asked(tokenizer, "abc", question="xyz")
        size = len(document.windows[0].ids)
        start, end = np.full(size, -3.0, np.float32), np.full(size, -3.0, np.float32)
        start[1] = end[2] = 50.0  # in the question
        start[-1] = end[-1] = 50.0  # the last [SEP]
        begin = document.windows[0].begin
        start[begin + 2], end[begin] = 5.0, 5.0  # end before start
        result = answer(document, [start], [end], 30)
        assert result.answer in {"a", "abc", "c"}
        assert result.start_char < result.end_char

    def test_no_answer_is_said(self, tokenizer: TextTokenizer) -> None:
        document = asked(tokenizer, "abc")
        logits = np.zeros(len(document.windows[0].ids), np.float32)
        logits[0] = 10.0
        result = answer(document, [logits], [logits], 30)
        assert (result.answer, result.start_char, result.end_char, result.no_answer) == ("", 0, 0, True)
        assert result.score > 0.999

    def test_a_context_without_tokens_has_no_answer(self, tokenizer: TextTokenizer) -> None:
        document = asked(tokenizer, " ")
        logits = np.zeros(len(document.windows[0].ids), np.float32)
        assert answer(document, [logits], [logits], 30) == Answer("", 0, 0, 1.0, True)

    def test_huge_logits_are_no_trouble(self, tokenizer: TextTokenizer) -> None:
        document = asked(tokenizer, "abc")
        logits = np.full(len(document.windows[0].ids), 1e30, np.float32)
        result = answer(document, [logits], [logits], 30)
        assert 0 <= result.score <= 1

    @given(seed=st.integers(0, 10_000), length=st.integers(1, 120), most=st.integers(1, 8))
    def test_it_is_what_a_loop_over_all_spans_finds(self, seed: int, length: int, most: int) -> None:
        from tests.support.multitask_nlp import make_tokenizer

        document = asked(TextTokenizer(make_tokenizer(), 32), "a " * length)
        rng = np.random.default_rng(seed)
        starts, ends = (
            [rng.normal(0, 2, len(window.ids)).astype(np.float32) for window in document.windows]
            for _ in range(2)
        )
        for logits in itertools.chain(starts, ends):
            logits[0] += rng.normal(2, 2)
        ours, expected = answer(document, starts, ends, most), brute_force(document, starts, ends, most)
        assert ours.score == pytest.approx(expected.score)
        assert (ours.start_char, ours.end_char, ours.no_answer) == (
            expected.start_char,
            expected.end_char,
            expected.no_answer,
        )
