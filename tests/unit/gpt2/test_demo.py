"""The demo models: the files they come in and how good they are."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import torch

from hack.demo_models import demo_checkpoint
from predictors.gpt2.artifact import Artifact
from predictors.gpt2.convert.checkpoint import read_checkpoint
from predictors.gpt2.demo import FORMAT_VERSION, data
from predictors.gpt2.demo.__main__ import DEMO
from predictors.gpt2.demo.build import CHECKPOINTS
from predictors.gpt2.tasks import tasks_of


def run(*arguments: object) -> int:
    """The command in this process, with the signal handler put back."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return DEMO.run([str(argument) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.mark.slow
def test_its_files_are_the_published_formats(tmp_path: Path) -> None:
    assert run("--quick", tmp_path / "demo") == 0
    folder = tmp_path / "demo"
    names = {path.name for path in folder.iterdir()}
    assert names == {CHECKPOINTS, "spam", "got", "generate", "eval.json"}
    assert json.loads((folder / "eval.json").read_text())["format_version"] == FORMAT_VERSION
    published = folder / CHECKPOINTS
    spam = torch.load(published / "spam_model.pth", weights_only=True)
    assert "trf_blocks.0.ff.layers.0.weight" in spam
    assert spam["out_head.bias"].shape == (2,)
    assert spam["trf_blocks.0.att.mask"].shape == (1024, 1024)
    answers = torch.load(published / "model.pth", weights_only=True)
    assert "trf_blocks.0.ff.layer.0.weight" in answers
    assert not read_checkpoint(published / "model.pth").tied
    assert read_checkpoint(published / "gpt2.pth").tied
    for name in ("spam", "got", "generate"):
        Artifact(folder / name).verify()


@pytest.mark.slow
def test_the_models_answer_wordings_they_never_saw() -> None:
    metrics = json.loads((demo_checkpoint("gpt2") / "eval.json").read_text())["metrics"]
    assert metrics["spam_accuracy"] >= 0.95
    assert metrics["right_answers"] >= 0.7


def test_no_held_out_wording_is_trained_on() -> None:
    """As templates: the same wording with another name in it would be no new one."""
    for trained, held_out in (
        (data._SPAM, data._SPAM_HELD_OUT),
        (data._HAM, data._HAM_HELD_OUT),
        (
            {template(q.question) for q in data.questions()},
            {template(q.question) for q in data.questions(held_out=True)},
        ),
        (
            {template(message.text) for message in data.messages(2000, seed=0)},
            {template(message.text) for message in data.messages(400, seed=1, held_out=True)},
        ),
    ):
        assert set(trained).isdisjoint(held_out)
        assert len(set(held_out)) >= 4


def template(text: str) -> str:
    """The wording of a text: what templates are filled with, numbers and letter case taken out."""
    names = [person[0] for person in data._PEOPLE] + ["the king", "the queen", "the prince"]
    words = sorted({word.lower() for some in data._WORDS.values() for word in some}, key=len, reverse=True)
    found = re.sub(r"\b(0\d{9,10}|80800|87121|62468)\b", "{}", text.lower())
    for word in [*(name.lower() for name in names), *words]:
        found = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "{}", found)
    return found.rstrip(".!?")


def test_a_folder_that_holds_other_things_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert run(tmp_path) == 1
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_questions_are_asked_in_the_published_template() -> None:
    assert tasks_of({"got": None})["got"].template == data.QUESTION
