"""Windows: every token is owned once, by the window in which it has the most context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from predictors.multitask_nlp.decoding.ner import first_tokens
from predictors.multitask_nlp.tokenizer import NotATokenizer, TextTokenizer, spans
from predictors.multitask_nlp.words import words
from tests.support.multitask_nlp import CLS, SEP, make_tokenizer


@given(count=st.integers(0, 500), room=st.integers(2, 60))
def test_windows_cover_and_own_every_token_once(count: int, room: int) -> None:
    owned: list[int] = []
    for start, own in spans(count, room):
        assert 0 <= start <= own.start
        assert own.stop <= min(start + room, count)
        owned += own
    assert owned == list(range(count))


@given(count=st.integers(0, 300), room=st.integers(4, 40))
def test_the_owner_has_the_most_context(count: int, room: int) -> None:
    windows = spans(count, room)

    def context(start: int, token: int) -> int:
        left = token - start if start else token + room  # the text's own edge takes nothing away
        right = start + room - 1 - token if start + room < count else room
        return min(left, right) if start <= token < start + room else -1

    for start, own in windows:
        for token in own:
            assert context(start, token) >= max(context(other, token) for other, _ in windows) - 1


def test_a_short_text_is_one_window(tokenizer: TextTokenizer) -> None:
    (document,) = tokenizer.texts(["Hi, Bo"])
    (window,) = document.windows
    assert (window.ids[0], window.ids[-1]) == (CLS, SEP)
    assert (window.begin, window.first, window.count) == (1, 0, 5)
    assert [document.text[begin:end] for begin, end in document.offsets] == ["H", "i", ",", "B", "o"]


def test_a_question_stands_before_every_window_of_its_context(tokenizer: TextTokenizer) -> None:
    context = "abc " * 40
    (document,) = tokenizer.questions([("who?", context)])
    assert document is not None
    assert len(document.windows) > 1
    for window in document.windows:
        assert len(window.ids) <= tokenizer.max_length
        assert window.begin == 6  # [CLS] w h o ? [SEP]
        assert list(window.ids[: window.begin]) == list(document.windows[0].ids[: window.begin])


def test_a_question_beyond_half_a_window_is_refused(tokenizer: TextTokenizer) -> None:
    assert tokenizer.longest_question == 16
    fits, too_long = tokenizer.questions([("a" * 16, "b"), ("a" * 17, "b")])
    assert fits is not None
    assert too_long is None


@pytest.mark.parametrize(
    "text", ["Café au lait", "cafe\u0301 au lait", "日本語 a", "👍🏽 ok", "a\u200bb \0 c"]
)
def test_offsets_count_code_points(tokenizer: TextTokenizer, text: str) -> None:
    (document,) = tokenizer.texts([text])
    assert all(0 <= begin < end <= len(text) for begin, end in document.offsets)
    assert text[document.offsets[-1][0] : document.offsets[-1][1]].lower() in {"t", "a", "k", "c"}


def sentencepiece(*, specials: bool = True) -> Tokenizer:
    """As ALBERT, XLM-R and DeBERTa have it: ``▁`` stands for the space before a word."""
    pieces = ["[UNK]", "[CLS]", "[SEP]", *"▁abcdo"]
    tokenizer = Tokenizer(
        models.BPE({p: i for i, p in enumerate([*pieces, "▁b"])}, [("▁", "b")], unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    if specials:
        tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B [SEP]",
            special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
        )
    return tokenizer


def test_a_space_is_no_part_of_the_word_after_it() -> None:
    (document,) = TextTokenizer(sentencepiece(), 32).texts(["a bo  b"])
    found = first_tokens(document, words(document.text))
    assert [document.text[slice(*document.offsets[token])] for token in found] == ["a", "b", "b"]


def test_the_last_token_is_not_their_count() -> None:
    tokenizer = make_tokenizer()
    count = tokenizer.get_vocab_size()
    assert TextTokenizer(tokenizer, 32).last == count - 1
    tokenizer.add_special_tokens(["[EXTRA]"])
    assert TextTokenizer(tokenizer, 32).last == count


def test_a_tokenizer_without_a_first_special_is_refused() -> None:
    with pytest.raises(NotATokenizer, match="none to classify by"):
        TextTokenizer(sentencepiece(specials=False), 32)
