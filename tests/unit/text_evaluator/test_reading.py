"""A text within the model's context, or why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictors.runtime.errors import LoadError
from predictors.text_evaluator.evaluation import Evaluation, Item, ItemError, read_answer
from predictors.text_evaluator.reading import LEAST_READ, Reader, Reading, Refusal
from tests.support.gemma import tokenizer, write_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def item(text: str) -> Item:
    return Item(id_alumno="A", curso="3r ESO", consigna="Tema", respuesta=text)


def length(folder: Path, text: str) -> int:
    reading = Reader(folder, 10**6, "refuse").read(item(text))
    assert isinstance(reading, Reading)
    return len(reading.ids)


def test_a_text_that_just_fits_is_read_whole(folder: Path) -> None:
    room = length(folder, "paraula " * 20)
    reading = Reader(folder, room, "refuse").read(item("paraula " * 20))
    assert isinstance(reading, Reading)
    assert not reading.truncated


def test_a_text_too_long_is_its_own_error(folder: Path) -> None:
    outcome = Reader(folder, length(folder, "x") + 5, "refuse").read(item("paraula " * 20))
    assert isinstance(outcome, Refusal)
    assert outcome.error.code == "too_long"


@pytest.mark.parametrize("text", ["paraula " * 500, "日本語" * 300, "é" * 999, "a\n\n" * 400])
def test_truncating_keeps_the_beginning_and_the_prompt_whole(folder: Path, text: str) -> None:
    room = length(folder, "") + 60
    reading = Reader(folder, room, "truncate").read(item(text))
    assert isinstance(reading, Reading)
    assert reading.truncated
    assert room - 12 <= len(reading.ids) <= room
    said = tokenizer().decode(reading.ids, skip_special_tokens=False)
    assert said.endswith("<end_of_turn>\n<start_of_turn>model")
    kept = said.split('":\n', 1)[1].split("<end_of_turn>")[0]
    assert text.startswith(kept)
    assert kept


@pytest.mark.parametrize("left", [0, 1, LEAST_READ - 2])
def test_a_text_of_which_too_little_would_be_read_gets_no_mark(folder: Path, left: int) -> None:
    outcome = Reader(folder, length(folder, "") + left, "truncate").read(item("paraula " * 500))
    assert isinstance(outcome, Refusal)
    assert outcome.error.code == "too_long"
    assert "tokens" in outcome.error.message


def test_what_cannot_be_cut_is_refused(folder: Path) -> None:
    assert isinstance(Reader(folder, 20, "truncate").read(item("text")), Refusal)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"tokenizer\.json is missing"):
        Reader(tmp_path, 100, "refuse")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        '{"nota": 6, "feedback": "x"}',
        '{"nota": -1, "feedback": "x"}',
        '{"nota": true, "feedback": "x"}',
        '{"nota": 3}',
        '{"nota": "3", "feedback": "x"}',
        '{"nota": 3.0, "feedback": "x"}',
        '{"nota": 3, "feedback": ""}',
        '{"nota": 3, "feedback": "cut of',
    ],
)
def test_what_is_no_answer_is_never_a_mark(text: str) -> None:
    assert isinstance(read_answer(text), ItemError)


def test_an_answer_is_read() -> None:
    assert read_answer('{"nota": 0, "feedback": "Molt \\"per sota\\"."}') == Evaluation(0, 'Molt "per sota".')
