"""What each task makes of a prompt before a model reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from predictors.gpt2.engine.decoder import Work
from predictors.gpt2.engine.sampling import Sampling
from predictors.gpt2.predictor import Gpt2
from predictors.gpt2.settings import Gpt2Settings
from predictors.gpt2.shape import END_OF_TEXT, LABELS
from predictors.gpt2.sources import GENERATE, GOT, SPAM
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.errors import InvalidValue, LoadError
from tests.support.gpt2 import state_dict, write_artifact

TRAINED = 120
"""Tokens of every text the spam model was trained on."""
CONTEXT = 128


def loaded(folder: Path, **others: Any) -> Gpt2:
    predictor = Gpt2(Gpt2Settings(model_dir=folder, threads=1, max_context=CONTEXT, **others))  # pyright: ignore[reportCallIssue]
    predictor.load(lambda _: None)
    return predictor


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Gpt2:
    folder = tmp_path_factory.mktemp("models")
    for name, state in (
        (GENERATE, state_dict(layers=1, context=CONTEXT)),
        (GOT, state_dict(layers=1, context=CONTEXT, seed=1)),
        (SPAM, state_dict(layers=1, context=CONTEXT, outputs=LABELS)),
    ):
        write_artifact(folder, state, name)
    return loaded(folder)


async def read(predictor: Gpt2, **fields: Any) -> Work:
    item = predictor.parse(fields)
    async with predictor.hold([item]):
        (work,) = predictor.prepare([item])
    assert isinstance(work, Work)
    return work


async def test_spam_is_padded_to_the_length_it_was_trained_at(
    predictor: Gpt2, tokenizer: TextTokenizer
) -> None:
    ids = tokenizer.encode("You won a prize")
    work = await read(predictor, prompt="You won a prize", task_name=SPAM)
    assert list(work.ids) == ids + [END_OF_TEXT] * (TRAINED - len(ids))
    assert (work.model.name, work.prompt_tokens, work.truncated) == (SPAM, len(ids), False)


async def test_of_a_longer_text_spam_reads_the_beginning(predictor: Gpt2, tokenizer: TextTokenizer) -> None:
    prompt = "free prize " * 100
    work = await read(predictor, prompt=prompt, task_name=SPAM)
    assert list(work.ids) == tokenizer.encode(prompt)[:TRAINED]
    assert (work.prompt_tokens, work.truncated) == (TRAINED, True)


async def test_got_is_asked_in_the_published_template(predictor: Gpt2, tokenizer: TextTokenizer) -> None:
    """Byte for byte: no space after the first colon, no line end at the end, braces left alone."""
    work = await read(predictor, prompt="Who {is} she?", task_name=GOT)
    assert tokenizer.decode(list(work.ids)) == "###### question:Who {is} she?\n\n###### Response:"
    assert work.model.name == GOT


@pytest.mark.parametrize("task", [None, GENERATE, "foo", "", "SPAM"])
async def test_whatever_else_is_the_text_itself(
    predictor: Gpt2, tokenizer: TextTokenizer, task: str | None
) -> None:
    work = await read(predictor, prompt="The king", task_name=task, max_new_tokens=7, stop="x", echo=True)
    assert list(work.ids) == tokenizer.encode("The king")
    assert (work.model.name, work.max_new_tokens, work.stop, work.echo) == (GENERATE, 7, ("x",), True)


async def test_how_to_draw_is_the_callers(predictor: Gpt2) -> None:
    work = await read(predictor, prompt="a", temperature=0.7, top_p=0.6, top_k=5, seed=3)
    assert work.sampling == Sampling(temperature=0.7, top_p=0.6, top_k=5, seed=3)


async def test_of_a_long_text_the_end_is_gone_on_with(predictor: Gpt2, tokenizer: TextTokenizer) -> None:
    prompt = "".join(f"{n} " for n in range(300))
    work = await read(predictor, prompt=prompt, max_new_tokens=20)
    assert list(work.ids) == tokenizer.encode(prompt)[-(CONTEXT - 20) :]
    assert (work.prompt_tokens, work.truncated) == (CONTEXT - 20, True)


async def test_the_end_token_is_text_unless_it_is_allowed(predictor: Gpt2) -> None:
    prompt = "a<|endoftext|>b"
    assert END_OF_TEXT not in (await read(predictor, prompt=prompt)).ids
    assert list((await read(predictor, prompt=prompt, special=True)).ids).count(END_OF_TEXT) == 1


@pytest.mark.parametrize(
    ("stop", "field", "message"),
    [
        ([""], "stop[0]", "String should have at least 1 character"),
        ("x" * 65, "stop[0]", "String should have at most 64 characters"),
        (["a", "\ud800"], "stop[1]", "Input should be a valid string, unable to parse"),
        (["x"] * 9, "stop", "List should have at most 8 items"),
    ],
)
def test_a_stop_string_that_is_none_is_named(predictor: Gpt2, stop: object, field: str, message: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        predictor.parse({"prompt": "a", "stop": stop})
    (entry,) = refused.value.details
    assert entry["field"] == field
    assert entry["message"].startswith(message)


async def test_a_task_that_no_model_here_can_do(tmp_path: Path) -> None:
    write_artifact(tmp_path, state_dict(layers=1, context=CONTEXT, outputs=LABELS), SPAM)
    with pytest.raises(InvalidValue, match="task_name must be spam") as refused:
        await read(loaded(tmp_path), prompt="a", task_name=GOT)
    assert refused.value.details[0]["field"] == "task_name"


async def test_a_label_has_no_text_that_it_could_follow(predictor: Gpt2) -> None:
    with pytest.raises(InvalidValue, match="echo must not be asked for with the task spam") as refused:
        await read(predictor, prompt="a", task_name=SPAM, echo=True)
    assert refused.value.details[0]["field"] == "echo"


def test_a_classifier_that_reads_less_than_it_was_trained_at_is_refused(tmp_path: Path) -> None:
    write_artifact(tmp_path, state_dict(layers=1, context=64, outputs=LABELS), SPAM)
    with pytest.raises(LoadError, match="has a context of 64 tokens: a text to classify has 120"):
        loaded(tmp_path)


@pytest.mark.parametrize("names", [(GENERATE, GOT), (GENERATE, GOT, SPAM)])
async def test_models_that_never_fit_together_are_refused_as_such(
    predictor: Gpt2, monkeypatch: pytest.MonkeyPatch, names: Sequence[str]
) -> None:
    """429 would have the caller try again for ever."""
    items = [predictor.parse({"prompt": "a", "task_name": name}) for name in names]
    async with predictor.hold(items):
        pass
    monkeypatch.setattr(predictor._residents, "_budget", 1)
    with pytest.raises(InvalidValue, match=r"must not mix generate and got.* in one call"):
        async with predictor.hold(items):
            pass
