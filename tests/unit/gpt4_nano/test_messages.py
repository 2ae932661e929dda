"""The published schemas."""

from __future__ import annotations

import json

import pytest

from predictors.gpt4_nano.backends.rows import Completion, InvalidRow, Row
from predictors.gpt4_nano.pipeline import messages
from predictors.gpt4_nano.pipeline.messages import DLQ, RESULTS, Poison, parse
from predictors.gpt4_nano.pipeline.seen import Seen


def test_a_published_request_with_all_its_fields() -> None:
    payload = {
        "prompt": "Hi",
        "max_tokens": 7,
        "temperature": 0.1,
        "top_p": 0.9,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "stop": None,
    }
    request = parse(json.dumps({"request_id": "a", "payload": payload}).encode(), [("subject", b"bo")])
    assert request.row == Row("Hi", 7, 0.1, 0.9, (), None, "a")
    assert request.key == ("bo", "a", "")


def test_the_published_defaults() -> None:
    request = parse(b'{"request_id": "a", "payload": {"prompt": "Hi"}}', [])
    assert request.row == Row("Hi", max_tokens=100, request_id="a")


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (None, [], "malformed_json"),
        (b"", [], "malformed_json"),
        (b"{", [], "malformed_json"),
        (b'{"request_id": NaN}', [], "malformed_json"),
        (b'"\xff"', [], "invalid_utf8"),
        (b"7", [], "not_an_object"),
        (b"{}", [], "no_request_id"),
        (b'{"request_id": ""}', [], "no_request_id"),
        (b'{"request_id": 5}', [], "no_request_id"),
        (b'{"request_id": "a", "payload": {}}', [("schema-version", b"2")], "unknown_schema_version"),
    ],
)
def test_poison(value: bytes | None, headers: list[tuple[str, bytes]], reason: str) -> None:
    with pytest.raises(Poison) as caught:
        parse(value, headers)
    assert caught.value.reason == reason


def test_what_is_asked_wrongly_is_an_answer_not_poison() -> None:
    request = parse(b'{"request_id": "a", "payload": {"prompt": "x", "max_tokens": -1}}', [])
    assert isinstance(request.row, InvalidRow)
    assert request.row.field == "payload.max_tokens"


def test_a_result_is_as_published() -> None:
    request = parse(b'{"request_id": "a", "payload": {"prompt": "Hi"}}', [("subject", b"bo")])
    completion = Completion("Hello", 1, 2, "stop", "m")
    body = messages.success(request, completion, seconds=0.5, triton="t:1", timestamp=3.0)
    assert body["output"] == {
        "response_text": "Hello",
        "tokens_used": 1,
        "finish_reason": "stop",
        "model": "m",
        "processing_time": 0.5,
    }
    sent = messages.result(request, body, b"k")
    assert (sent.topic, sent.key, json.loads(sent.value)) == ("inference-results", b"k", body)
    assert dict(sent.headers) == {"schema-version": b"1", "request-id": b"a", "subject": b"bo"}


def test_a_dead_letter_is_the_message_as_it_came_and_says_why() -> None:
    letter = messages.dead_letter(
        b"\xff",
        b"k",
        [("trace", b"t"), ("dlq-reason", b"an older one")],
        reason="invalid_utf8",
        message="no",
        source=("inference-requests", 2, 40),
        attempts=0,
        timestamp=1.0,
    )
    headers = dict(letter.headers)
    assert (letter.value, letter.key, headers["trace"], headers["dlq-reason"]) == (
        b"\xff",
        b"k",
        b"t",
        b"invalid_utf8",
    )
    assert (headers["dlq-partition"], headers["dlq-offset"]) == (b"2", b"40")


def test_an_id_that_is_submitted_again_is_another_request() -> None:
    value = b'{"request_id": "a", "payload": {"prompt": "Hi"}}'
    first, second = (parse(value, [("subject", b"bo"), ("submission", which)]) for which in (b"1", b"2"))
    assert first.key != second.key
    outcome = messages.result(first, messages.failure("a", "no", "validation", 1.0), b"k")
    assert messages.key_of(outcome.headers) == first.key


@pytest.mark.parametrize(
    ("topic", "value", "headers", "result"),
    [
        (
            RESULTS,
            b'{"success": true, "output": {}}',
            [("request-id", b"a")],
            {"success": True, "output": {}},
        ),
        (
            DLQ,
            b"\xff",
            [("request-id", b"a"), ("dlq-reason", b"exhausted_timeout"), ("dlq-message", b"Late.")],
            messages.failure("a", "Late.", "timeout", 7.0),
        ),
    ],
)
def test_what_the_asker_is_told(topic: str, value: bytes, headers: list, result: dict) -> None:
    assert messages.told(topic, value, headers, 7.0) == ("", "a", result)


def test_of_an_unreadable_request_nobody_is_told() -> None:
    assert messages.told(DLQ, b"{", [("dlq-reason", b"malformed_json")], 7.0) is None


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[]", b"{}", b'{"success": 1}'])
def test_what_others_put_beside_the_results_is_none(value: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"."):
        messages.told(RESULTS, value, [("request-id", b"a")], 7.0)


def test_in_short() -> None:
    """What stands for a message that the broker does not take says who and why."""
    request = parse(b'{"request_id": "a", "payload": {"prompt": "Hi"}}', [("subject", b"bo")])
    big = messages.result(request, {"success": True, "output": "x" * 10_000}, b"k" * 2000)
    short = messages.shortened(big, 3.0)
    assert (short.topic, short.key) == (RESULTS, None)
    assert json.loads(short.value)["error_type"] == "unexpected"
    assert messages.key_of(short.headers) == request.key

    letter = messages.dead_letter(
        b"x" * 10_000,
        b"k",
        [("trace", b"t" * 10_000)],
        reason="malformed_json",
        message="no",
        source=("inference-requests", 2, 40),
        attempts=0,
        timestamp=1.0,
    )
    short = messages.shortened(letter, 3.0)
    assert (short.topic, short.value, short.key) == (DLQ, b"", b"k")
    assert dict(short.headers)["dlq-omitted-bytes"] == b"10000"
    assert dict(short.headers)["dlq-offset"] == b"40"
    assert "trace" not in dict(short.headers)


def test_the_last_so_many_requests_are_remembered() -> None:
    seen = Seen(2)
    assert [seen.add(("s", name, "")) for name in "abac"] == [True, True, False, True]
    assert seen.add(("s", "a", ""))  # forgotten when c came
    assert len(seen) == 2
