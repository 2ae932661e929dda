from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from predictors.prompt_classifier.tokenizer import PromptTokenizer
from predictors.runtime.errors import LoadError
from tests.support.checkpoints import write_random_checkpoint


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    return write_random_checkpoint(folder, layers=1, hidden=64, vocab=500, seed=0) / "tokenizer.json"


def test_a_prompt_is_wrapped_in_cls_and_sep(file: Path) -> None:
    (prompt,) = PromptTokenizer(file).encode(["hello"])
    (window,) = prompt.windows
    assert (window[0], window[-1]) == (1, 2)
    assert window.dtype == np.int32
    assert not prompt.truncated
    assert prompt.tokens == len(window)


def test_an_empty_prompt_is_cls_and_sep(file: Path) -> None:
    (prompt,) = PromptTokenizer(file).encode([""])
    assert [window.tolist() for window in prompt.windows] == [[1, 2]]


def test_the_last_prompt_that_fits_is_whole_and_the_next_is_truncated(file: Path) -> None:
    tokenizer = PromptTokenizer(file)
    lengths = {}
    for size in range(490, 530):
        (prompt,) = tokenizer.encode(["a" * size])
        lengths[prompt.truncated] = max(lengths.get(prompt.truncated, 0), prompt.tokens)
    assert lengths == {False: 512, True: 512}


def test_a_windowed_prompt_is_read_to_its_end(file: Path) -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(1300))
    (whole,) = PromptTokenizer(file, windowed=True).encode([text])
    (start,) = PromptTokenizer(file).encode([text])
    assert not whole.truncated
    assert start.truncated
    assert [len(window) for window in whole.windows][:2] == [512, 512]
    assert all((window[0], window[-1]) == (1, 2) for window in whole.windows)
    assert (whole.windows[0] == start.windows[0]).all()


@pytest.mark.parametrize("text", ["\0", "שלום", "👩‍👩‍👧", "e\u0301", "\u202eabc", "\ufeff", "a\r\n\tb"])
def test_any_text_is_tokens(file: Path, text: str) -> None:
    (prompt,) = PromptTokenizer(file).encode([text])
    assert prompt.tokens >= 2


def test_a_file_that_is_no_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{}")
    with pytest.raises(LoadError, match=r"tokenizer\.json is not a tokenizer"):
        PromptTokenizer(broken)
