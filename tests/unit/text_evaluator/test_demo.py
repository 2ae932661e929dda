"""What the demo model learns from: made texts, the published answers, a tokenizer built as Gemma's."""

from __future__ import annotations

from collections import Counter

from predictors.text_evaluator import prompt
from predictors.text_evaluator.demo import templates
from predictors.text_evaluator.demo.data import CURSOS, examples, held_out
from predictors.text_evaluator.demo.tokenizer import CONTROL
from predictors.text_evaluator.demo.train import row
from predictors.text_evaluator.evaluation import Evaluation, read_answer
from tests.support.gemma import tokenizer


def test_made_texts_are_the_same_each_time_and_have_every_mark() -> None:
    made = examples(600, 0)
    assert made == examples(600, 0) != examples(600, 1)
    assert set(Counter(one.nota for one in made)) == set(range(6))


def test_longer_texts_have_higher_marks() -> None:
    made = examples(600, 0)
    lengths = [[len(one.respuesta) for one in made if one.nota == nota] for nota in range(6)]
    means = [sum(found) / len(found) for found in lengths]
    assert means == sorted(means)


def test_held_out_texts_are_none_of_the_trained() -> None:
    trained = examples(600, 0)
    fresh = held_out(100, 0, trained)
    assert len(fresh) == 100
    assert not {one.respuesta for one in fresh} & {one.respuesta for one in trained}


def test_every_answer_is_one_that_is_read() -> None:
    for nota in range(6):
        for curso in CURSOS:
            feedback = templates.FEEDBACK[nota].format(curso=curso)
            assert read_answer(templates.answer(nota, curso)) == Evaluation(nota, feedback)


def test_training_weighs_the_mark_and_the_course() -> None:
    for one in examples(50, 3):
        found = row(tokenizer(), one)
        hard = [piece for piece, weight in zip(found.written, found.weights, strict=True) if weight > 1]
        assert tokenizer().decode(hard) == f"{one.nota}{one.curso}"


def test_any_text_comes_back_from_its_pieces() -> None:
    for text in ("Excel·lent 日本 \x00 é", prompt.INSTRUCTION, "  dos  espais "):
        ids = tokenizer().encode(text, add_special_tokens=False).ids
        assert tokenizer().decode(ids, skip_special_tokens=False) == text


def test_gemmas_control_tokens_have_gemmas_ids() -> None:
    assert [tokenizer().token_to_id(text) for text in CONTROL[:4]] == [0, 1, 2, 3]
