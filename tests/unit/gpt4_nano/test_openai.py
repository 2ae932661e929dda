"""The openai backend against a server that speaks the wire format."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from predictors.gpt4_nano.backends import openai
from predictors.gpt4_nano.backends.openai import OpenAI
from predictors.gpt4_nano.backends.rows import (
    BackendFailed,
    Cancelled,
    Completion,
    InvalidRow,
    Outcome,
    Row,
)
from tests.support import openai_stub
from tests.support.openai_stub import KEY, Stub
from tests.unit.gpt4_nano.conftest import Listener


@pytest.fixture
def stub() -> Iterator[Stub]:
    with openai_stub.running() as one:
        yield one


@pytest.fixture
def backend(stub: Stub) -> Iterator[OpenAI]:
    one = OpenAI(base_url=stub.url, key=KEY, model="gpt-4.1-nano", timeout=10, attempts=3, moderation=False)
    yield one
    one.close()


def one(backend: OpenAI, prompt: str, listener: Listener | None = None) -> Outcome:
    (outcome,) = backend.generate([Row(prompt)], listener or Listener())
    return outcome


def test_a_row_is_a_chat_with_its_own_settings_and_real_counts(backend: OpenAI, stub: Stub) -> None:
    listener = Listener()
    row = Row("Hello", max_tokens=5, temperature=0.25, top_p=0.5, stop=("END",), seed=3)
    (outcome,) = backend.generate([row], listener)
    assert outcome == Completion("You said: Hello", 7, 11, "stop", "gpt-4.1-nano-2025-04-14")
    assert "".join(listener.pieces[0]) == "You said: Hello"
    (body,) = stub.seen
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert {name: body[name] for name in ("max_tokens", "temperature", "top_p", "stop", "seed")} == {
        "max_tokens": 5,
        "temperature": 0.25,
        "top_p": 0.5,
        "stop": ["END"],
        "seed": 3,
    }


def test_the_rows_of_a_batch_are_sent_at_the_same_time_and_connections_are_kept(
    backend: OpenAI, stub: Stub
) -> None:
    done: list[list[Outcome]] = []
    rows = [Row(f"[slow] {number}") for number in range(8)]
    batch = threading.Thread(target=lambda: done.append(list(backend.generate(rows, Listener()))))
    batch.start()
    while stub.under_way < 8:
        assert batch.is_alive()
    stub.let_go.set()
    batch.join(20)
    assert [o.response for o in done[0] if isinstance(o, Completion)] == [
        f"You said: {row.prompt}" for row in rows
    ]
    for _ in range(3):
        one(backend, "again")
    assert len(stub.connections) == 8


@pytest.mark.parametrize("prompt", ["[429]", "[500]"])
def test_what_may_go_better_later_is_tried_again(backend: OpenAI, stub: Stub, prompt: str) -> None:
    assert isinstance(one(backend, prompt), Completion)
    assert stub.tries[prompt] == 3


def test_the_provider_says_when_to_try_again(
    backend: OpenAI, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own pauses would be far longer; and one that is longer than a caller waits is not waited for."""
    monkeypatch.setattr(openai, "FIRST_PAUSE", 3600.0)
    assert isinstance(one(backend, "[429]"), Completion)
    outcome = one(backend, "[patience]")
    assert isinstance(outcome, BackendFailed)
    assert outcome.retriable
    assert stub.tries["[patience]"] == 1


def test_a_provider_that_is_too_slow_is_given_up(stub: Stub) -> None:
    backend = OpenAI(base_url=stub.url, key=KEY, model="m", timeout=0.2, attempts=2, moderation=False)
    try:
        outcome = one(backend, "[slow]")
    finally:
        stub.let_go.set()
        backend.close()
    assert isinstance(outcome, BackendFailed)
    assert outcome.retriable
    assert stub.tries["[slow]"] == 2


def test_a_stream_that_breaks_off_before_anything_was_told_is_tried_again(
    backend: OpenAI, stub: Stub
) -> None:
    listener = Listener()
    outcome = one(backend, "[broken]", listener)
    assert isinstance(outcome, Completion)
    assert "".join(listener.pieces[0]) == outcome.response
    assert stub.tries["[broken]"] == 3


@pytest.mark.parametrize(("prompt", "retriable", "tries"), [("[garbage]", True, 3), ("[quota]", False, 1)])
def test_what_does_not_go_is_a_sentence_without_internals(
    backend: OpenAI, stub: Stub, prompt: str, retriable: bool, tries: int
) -> None:
    outcome = one(backend, prompt)
    assert isinstance(outcome, BackendFailed)
    assert outcome.retriable is retriable
    assert stub.url not in str(outcome)
    assert stub.tries[prompt] == tries


def test_what_ends_a_line_only_for_some_stands_in_an_answer(backend: OpenAI) -> None:
    outcome = one(backend, "a\u2028b\u0085c")
    assert isinstance(outcome, Completion)
    assert outcome.response == "You said: a\u2028b\u0085c"


def test_a_bad_row_fails_alone(backend: OpenAI) -> None:
    first, second, third = backend.generate([Row("a"), Row("[long]"), Row("b")], Listener())
    assert isinstance(first, Completion)
    assert isinstance(second, InvalidRow)
    assert second.field == "prompt"
    assert isinstance(third, Completion)


def test_an_answer_of_another_shape_fails_its_row_alone(backend: OpenAI, stub: Stub) -> None:
    first, second, third = backend.generate([Row("a"), Row("[odd]"), Row("b")], Listener())
    assert isinstance(first, Completion)
    assert isinstance(second, BackendFailed)
    assert str(second) == "The model's provider gave an answer that cannot be read."
    assert isinstance(third, Completion)


def test_a_refusal_says_so(backend: OpenAI) -> None:
    outcome = one(backend, "[refuse]")
    assert isinstance(outcome, Completion)
    assert (outcome.response, outcome.finish_reason) == ("I can't help with that.", "content_filter")


def test_moderation_comes_first_where_it_is_asked_for(stub: Stub) -> None:
    stub.flagged.add("bad words")
    backend = OpenAI(base_url=stub.url, key=KEY, model="m", timeout=10, attempts=1, moderation=True)
    try:
        flagged, fine = one(backend, "bad words"), one(backend, "good words")
    finally:
        backend.close()
    assert isinstance(flagged, Completion)
    assert (flagged.response, flagged.finish_reason) == ("", "content_filter")
    assert isinstance(fine, Completion)
    assert [body["messages"][0]["content"] for body in stub.seen] == ["good words"]


def test_a_caller_that_goes_ends_its_call(backend: OpenAI, stub: Stub) -> None:
    first, second = backend.generate([Row("[slow]"), Row("quick")], Listener(0))
    assert isinstance(first, Cancelled)
    assert isinstance(second, Completion)


def test_a_server_that_is_not_there_is_a_retriable_failure() -> None:
    backend = OpenAI(
        base_url="http://127.0.0.1:9", key=KEY, model="m", timeout=1, attempts=1, moderation=False
    )
    try:
        outcome = one(backend, "x")
    finally:
        backend.close()
    assert isinstance(outcome, BackendFailed)
    assert outcome.retriable


def test_a_wrong_key_is_not_tried_again(stub: Stub) -> None:
    backend = OpenAI(base_url=stub.url, key="wrong", model="m", timeout=5, attempts=3, moderation=False)
    try:
        outcome = one(backend, "x")
    finally:
        backend.close()
    assert isinstance(outcome, BackendFailed)
    assert not outcome.retriable
    assert "wrong" not in str(outcome)
