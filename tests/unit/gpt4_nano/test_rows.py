"""What may stand in a row."""

from __future__ import annotations

import math
from typing import Any

import pytest

from predictors.gpt4_nano.backends.rows import InvalidRow, Row, row_of


def test_the_published_defaults() -> None:
    assert row_of({"prompt": "Hello"}) == Row("Hello", 150, 0.7, 1.0, (), None, "")


def test_a_tensor_s_bytes_are_text() -> None:
    row = row_of({"prompt": "Grüße".encode(), "stop": [b"x", b""], "seed": 7})
    assert (row.prompt, row.stop, row.seed) == ("Grüße", ("x",), 7)


def test_a_negative_seed_is_none() -> None:
    assert row_of({"prompt": "x", "seed": -1}).seed is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", "  "),
        ("prompt", 7),
        ("prompt", b"\xff\xfe"),
        ("prompt", "\ud800"),
        ("prompt", "x" * (1 << 20)),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_tokens", 10**9),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [1]),
        ("stop", 5),
        ("seed", 1 << 63),
        ("seed", "x"),
        ("request_id", 5),
    ],
)
def test_what_is_not_allowed_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidRow) as caught:
        row_of({"prompt": "Hello", field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} must")
