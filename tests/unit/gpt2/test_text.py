from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from predictors.gpt2.engine.text import GrowingText


class Letters:
    """Stands in for a token stream: a token is a piece of text."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces

    def push(self, token: int) -> str:
        return self._pieces[token]

    def end(self) -> str:
        return ""


def grown(pieces: list[str], stop: list[str]) -> tuple[list[str], GrowingText]:
    text = GrowingText(Letters(pieces), stop)  # type: ignore[arg-type]
    told = []
    for token in range(len(pieces)):
        told.append(text.push(token))
        if text.stopped:
            break
    return [*told, text.end()], text


def test_a_stop_string_across_the_border_of_tokens() -> None:
    told, text = grown(["one", " tw", "o th", "ree"], ["two"])
    assert told == ["one", " ", "", ""]
    assert (text.text, text.stopped) == ("one ", True)


def test_what_only_began_like_a_stop_string_is_told_later() -> None:
    told, text = grown(["one\n", "#", "two"], ["\n##"])
    assert told == ["one", "", "\n#two", ""]
    assert (text.text, text.stopped) == ("one\n#two", False)


def test_an_end_that_begins_like_a_stop_string_is_told_at_the_end() -> None:
    told, text = grown(["one\n"], ["\n##"])
    assert told == ["one", "\n"]
    assert text.text == "one\n"


@given(
    st.lists(st.text("ab", max_size=3), max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=3), max_size=3),
)
def test_what_is_told_is_the_text_up_to_the_first_stop_string(pieces: list[str], stop: list[str]) -> None:
    told, text = grown(pieces, stop)
    assert "".join(told) == text.text
    # As soon as one is complete the text ends, where the first of those complete begins.
    for end in range(len(pieces) + 1):
        so_far = "".join(pieces[:end])
        if places := [so_far.find(one) for one in stop if one in so_far]:
            assert text.stopped
            assert text.text == so_far[: min(places)]
            return
    assert not text.stopped
    assert text.text == "".join(pieces)
