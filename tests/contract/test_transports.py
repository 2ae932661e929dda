"""One table of cases, every transport: same items, same answers; same mistakes, same refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.transports import Items, Outputs, Refusal, Target, v1

Call = Callable[[Target, Items], Outputs]

ACCEPTED: dict[str, list[dict]] = {
    "one": [{"text": "a"}],
    "several, in order": [{"text": str(n)} for n in range(20)],
    "the most there may be": [{"text": "x"}] * 100,
    "empty": [{"text": ""}],
    "long": [{"text": "word " * 20_000}],
    "NUL": [{"text": "a\0b"}],
    "right to left": [{"text": "שלום עולם"}],
    "emoji and combining marks": [{"text": "👩‍👩‍👧 e\u0301 日本"}],
    "a second input": [{"text": "ab", "factor": 1.5}, {"text": "abc", "factor": -2.0}],
}

# case -> items, the code in v1, the code where items are rows of tensors, a field that must be named
REFUSED: dict[str, tuple[list[dict], str, str, str]] = {
    "no item": ([], "invalid_value", "invalid_value", ""),
    "one item too many": ([{"text": "x"}] * 101, "invalid_value", "invalid_value", ""),
    "ten thousand items": ([{"text": "x"}] * 10_000, "invalid_value", "invalid_value", ""),
    "an item the model refuses": (
        [{"text": "a"}, {"text": "!bad"}],
        "invalid_value",
        "invalid_value",
        "text",
    ),
    "an input that lacks": ([{"factor": 1.0}], "invalid_value", "malformed", "text"),
    "an answer that is no number": ([{"text": "!nan"}], "internal", "internal", "score"),
    "an item that breaks the engine": ([{"text": "a"}, {"text": "!boom"}], "internal", "internal", ""),
}
STATUS = {"invalid_value": {422, "INVALID_ARGUMENT"}, "malformed": {400, "INVALID_ARGUMENT"}}
STATUS["internal"] = {500, "INTERNAL"}


@pytest.mark.parametrize("case", ACCEPTED)
def test_same_items_same_answers(toy: Target, call: Call, case: str) -> None:
    items = ACCEPTED[case]
    expected = [{"upper": i["text"].upper(), "score": len(i["text"]) * i.get("factor", 1.0)} for i in items]
    assert call(toy, items) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_same_mistakes_same_refusals(toy: Target, call: Call, case: str) -> None:
    items, v1_code, tensor_code, field = REFUSED[case]
    with pytest.raises(Refusal) as refused:
        call(toy, items)
    refusal = refused.value
    assert refusal.code == (v1_code if call is v1 else tensor_code)
    assert refusal.status in STATUS[refusal.code]
    assert any(field in text for text in (*refusal.fields, refusal.body["error"]))
    assert "secret" not in str(refusal.body)
