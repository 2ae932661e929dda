from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.gpt2.convert.vocabulary import FILES, build, find_tokenizer
from predictors.gpt2.shape import END_OF_TEXT
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.errors import LoadError
from tests.support.gpt2 import write_r50k, write_vocabulary

# As GPT-2's own encoder gives them.
KNOWN = {
    "Hello world": [15496, 995],
    " the quick  brown fox": [262, 2068, 220, 7586, 21831],
    "It's 2019!\n": [1026, 338, 13130, 0, 198],
}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(folder)
    (folder / "tokenizer.json").write_bytes(find_tokenizer(folder, "gpt2"))
    return TextTokenizer(folder / "tokenizer.json")


@pytest.mark.parametrize("text", KNOWN)
def test_it_is_gpt2s(gpt2: TextTokenizer, text: str) -> None:
    assert gpt2.encode(text) == KNOWN[text]


def test_the_name_of_the_end_token_in_a_text_is_text_unless_allowed(gpt2: TextTokenizer) -> None:
    text = "a<|endoftext|>b"
    assert END_OF_TEXT not in gpt2.encode(text)
    assert gpt2.decode(gpt2.encode(text)) == text
    assert gpt2.encode(text, special=True) == [*gpt2.encode("a"), END_OF_TEXT, *gpt2.encode("b")]


@given(text=st.text(st.characters(codec="utf-8"), max_size=60))
def test_text_comes_back_whole_and_a_character_at_a_time(gpt2: TextTokenizer, text: str) -> None:
    ids = gpt2.encode(text)
    assert gpt2.decode(ids) == text
    stream = gpt2.stream()
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.end() == text
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_a_character_never_completed_is_shown_as_such(gpt2: TextTokenizer) -> None:
    first, *_ = gpt2.encode("\U0001f469")
    stream = gpt2.stream()
    assert stream.push(first) + stream.end() == "\ufffd"


def test_a_tokenizer_that_finds_special_tokens_in_texts_is_made_not_to(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    document = json.loads(build(*(tmp_path / name for name in FILES[1])))
    document["added_tokens"] = [
        {
            "id": END_OF_TEXT,
            "content": "<|endoftext|>",
            "special": True,
            "single_word": False,
            "lstrip": False,
        }
        | {"rstrip": False, "normalized": False}
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    plain = tmp_path / "plain.json"
    plain.write_bytes(find_tokenizer(tmp_path, "gpt2"))
    assert END_OF_TEXT not in TextTokenizer(plain).encode("a<|endoftext|>b")


def test_tiktokens_cache_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    write_vocabulary(tmp_path)
    (tmp_path / "encoder.json").rename(tmp_path / "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6")
    (tmp_path / "vocab.bpe").rename(tmp_path / "6d1cbeee0f20b3d9449abfede4726ed8212e3aee")
    assert find_tokenizer(tmp_path / "nothing", "gpt2")


def test_tiktokens_r50k_base_is_the_same_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    ranks = write_r50k(tmp_path)
    made = json.loads(find_tokenizer(tmp_path / "nothing", "r50k_base"))
    write_vocabulary(tmp_path)
    assert made == json.loads(build(*(tmp_path / name for name in FILES[1])))
    for wrong in (b"hello\n", b"aGVsbG8= 0\n", b"YQ== 0\nYg== 1\nY2M= 2\n"):
        ranks.write_bytes(wrong)
        with pytest.raises(LoadError, match="is not a vocabulary"):
            find_tokenizer(tmp_path / "nothing", "r50k_base")


def test_no_vocabulary_and_a_wrong_one_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(
        LoadError, match=r"tiktoken's cache .* for gpt2 \(MODEL_NAME\): put GPT-2's vocab\.json"
    ):
        find_tokenizer(tmp_path, "gpt2")
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "small.json").write_bytes(find_tokenizer(tmp_path, "gpt2"))
    with pytest.raises(LoadError, match="not GPT-2's tokenizer of 50257 tokens"):
        TextTokenizer(tmp_path / "small.json")
