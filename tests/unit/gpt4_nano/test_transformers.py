"""The transformers backend with a tiny model of random weights: a batch says what each row says alone."""

from __future__ import annotations

from typing import Any

import pytest

from predictors.gpt4_nano.backends.rows import Cancelled, Completion, InvalidRow, Row
from predictors.gpt4_nano.backends.transformers import CausalLM
from tests.support import tiny_causal_lm
from tests.support.tiny_causal_lm import WORDS
from tests.unit.gpt4_nano.conftest import Listener


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    folder = tmp_path_factory.mktemp("model")
    tiny_causal_lm.save(folder)
    return CausalLM(folder)


ROWS = [
    Row("w1 w2 w3 w4 w5 w6", max_tokens=12, temperature=0),
    Row("w9", max_tokens=5, temperature=0),
    Row("w7 w7 w8", max_tokens=20, temperature=1.0, top_p=0.9, seed=5),
]


def test_rows_of_different_lengths_are_what_each_is_alone(backend: CausalLM) -> None:
    together = backend.generate(ROWS, Listener())
    assert together == [backend.generate([row], Listener())[0] for row in ROWS]
    for row, outcome in zip(ROWS, together, strict=True):
        assert isinstance(outcome, Completion)
        assert outcome.prompt_tokens == len(row.prompt.split())
        assert outcome.tokens_used == len(outcome.response.split()) <= row.max_tokens
        assert outcome.finish_reason == ("length" if outcome.tokens_used == row.max_tokens else "stop")


def test_greedy_is_what_the_library_generates(backend: CausalLM) -> None:
    row = ROWS[0]
    (outcome,) = backend.generate([row], Listener())
    assert isinstance(outcome, Completion)
    ids = backend._tokenizer(row.prompt, return_tensors="pt")
    model: Any = backend._model
    generated = model.generate(**ids, max_new_tokens=row.max_tokens, do_sample=False)
    text = backend._tokenizer.decode(generated[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert outcome.response == text


def test_a_seed_repeats_a_sample(backend: CausalLM) -> None:
    row = Row("w1 w2", max_tokens=20, temperature=1.5, seed=1)
    first, second = backend.generate([row, row], Listener())
    assert first == second


def test_pieces_join_to_the_response(backend: CausalLM) -> None:
    listener = Listener()
    outcomes = backend.generate(ROWS, listener)
    for index, outcome in enumerate(outcomes):
        assert isinstance(outcome, Completion)
        assert "".join(listener.pieces[index]) == outcome.response


def test_a_stop_string_ends_a_response_and_none_of_it_is_told(backend: CausalLM) -> None:
    (whole,) = backend.generate([ROWS[0]], Listener())
    assert isinstance(whole, Completion)
    stop = whole.response.split()[-1]
    listener = Listener()
    row = Row(ROWS[0].prompt, max_tokens=12, temperature=0, stop=(stop,))
    (cut,) = backend.generate([row], listener)
    assert isinstance(cut, Completion)
    assert cut.response == whole.response[: whole.response.index(stop)]
    assert cut.finish_reason == "stop"
    assert "".join(listener.pieces[0]) == cut.response


def test_a_prompt_that_leaves_no_room_fails_alone_and_a_caller_that_has_gone_ends(
    backend: CausalLM,
) -> None:
    rows = [Row(" ".join(WORDS), max_tokens=10), ROWS[1], ROWS[0]]
    too_long, fine, gone = backend.generate(rows, Listener(2))
    assert isinstance(too_long, InvalidRow)
    assert isinstance(fine, Completion)
    assert isinstance(gone, Cancelled)
