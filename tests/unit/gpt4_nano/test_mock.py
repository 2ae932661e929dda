"""The mock answers as published."""

from __future__ import annotations

import pytest

from predictors.gpt4_nano.backends.mock import ANSWERS, Mock, answer
from predictors.gpt4_nano.backends.rows import Cancelled, Completion, Row
from tests.unit.gpt4_nano.conftest import Listener


@pytest.mark.parametrize(
    ("prompt", "begins"),
    [
        ("What is MACHINE LEARNING in Python?", "Machine learning is a subset"),
        ("python or triton?", "Python is a high-level"),
        ("What is Triton?", "Triton Inference Server is"),
    ],
)
def test_the_first_word_in_the_published_order_decides(prompt: str, begins: str) -> None:
    assert answer(Row(prompt)).response.startswith(begins)


def test_anything_else_is_echoed_up_to_fifty_characters() -> None:
    prompt = "Tell me about cats " * 5
    assert f"asking about: '{prompt[:50]}...'" in answer(Row(prompt)).response


def test_tokens_are_counted_as_published() -> None:
    text = ANSWERS[0][1]
    whole = answer(Row("machine learning"))
    assert (whole.response, whole.tokens_used, whole.finish_reason) == (
        text,
        int(len(text.split()) * 1.3),
        "stop",
    )
    cut = answer(Row("machine learning", max_tokens=13))
    assert cut.response == " ".join(text.split()[:10]) + "..."
    assert (cut.tokens_used, cut.finish_reason) == (13, "length")


def test_it_says_that_it_is_a_mock() -> None:
    assert "mock" in answer(Row("x")).model


def test_a_stop_string_ends_the_response() -> None:
    assert answer(Row("triton", stop=("open-source", "zzz"))).response == "Triton Inference Server is an "


def test_pieces_join_to_the_response_and_a_caller_that_has_gone_gets_none() -> None:
    listener = Listener(1)
    first, second = Mock().generate([Row("python"), Row("triton")], listener)
    assert isinstance(first, Completion)
    assert "".join(listener.pieces[0]) == first.response
    assert isinstance(second, Cancelled)
    assert not listener.pieces[1]
