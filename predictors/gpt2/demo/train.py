"""Trains the three demo models, each in well under half a minute of two processors."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from predictors.gpt2.demo import data
from predictors.gpt2.demo.model import SmallGpt
from predictors.gpt2.shape import END_OF_TEXT
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.progress import Report

SPAM_LENGTH = 120
"""As published: the longest text of the training set, to which the others are padded."""
IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    hidden: int = 128
    layers: int = 2
    batch: int = 16
    spam_steps: int = 120
    question_steps: int = 250
    story_steps: int = 120
    learning_rate: float = 2e-3
    seed: int = 0


QUICK = Recipe(hidden=64, layers=1, spam_steps=3, question_steps=3, story_steps=3)


def train_spam(tokenizer: TextTokenizer, recipe: Recipe, report: Report) -> SmallGpt:
    rng, _ = _seeded(recipe)
    messages = data.messages(1200, recipe.seed)
    texts = [tokenizer.encode(message.text) for message in messages]
    known = sorted({token for ids in texts for token in ids} | {END_OF_TEXT})
    model = SmallGpt(known, hidden=recipe.hidden, layers=recipe.layers, style="layers", head="labels")
    places = {token: place for place, token in enumerate(known)}
    other = len(known)
    rows = torch.tensor(
        [[places[t] for t in ids] + [places[END_OF_TEXT]] * (SPAM_LENGTH - len(ids)) for ids in texts]
    )
    labels = torch.tensor([int(message.spam) for message in messages])

    def loss() -> Tensor:
        chosen = torch.tensor(rng.sample(range(len(rows)), recipe.batch))
        ids = rows[chosen]
        # Some words are as if never seen, so that the label does not hang on one of them.
        ids = torch.where((torch.rand(ids.shape) < 0.1) & (ids != places[END_OF_TEXT]), other, ids)
        return functional.cross_entropy(model(ids)[:, -1], labels[chosen])

    _train(model, loss, recipe.spam_steps, recipe, lambda step, of: report("learning spam", step, of))
    return model


def train_questions(tokenizer: TextTokenizer, recipe: Recipe, report: Report) -> tuple[SmallGpt, int]:
    """The model and the longest text it was trained on."""
    rng, _ = _seeded(recipe)
    texts = []
    for question in data.questions():
        asked = tokenizer.encode(data.QUESTION.format(question.question))
        texts.append((asked, [*tokenizer.encode(question.answer), END_OF_TEXT]))
    known = sorted({token for asked, answer in texts for token in asked + answer})
    model = SmallGpt(known, hidden=recipe.hidden, layers=recipe.layers, style="layer", head="own")
    rows, targets = _padded([(asked + answer, len(asked)) for asked, answer in texts], known)
    loss = _next_token_loss(model, rows, targets, recipe, rng)
    _train(model, loss, recipe.question_steps, recipe, lambda step, of: report("learning answers", step, of))
    return model, rows.shape[1]


def train_stories(tokenizer: TextTokenizer, recipe: Recipe, report: Report) -> tuple[SmallGpt, int]:
    rng, _ = _seeded(recipe)
    texts = [[*tokenizer.encode(story), END_OF_TEXT] for story in data.stories(600, recipe.seed)]
    known = sorted({token for ids in texts for token in ids})
    model = SmallGpt(known, hidden=recipe.hidden, layers=recipe.layers, style="layers", head="tied")
    rows, targets = _padded([(ids[:128], 1) for ids in texts], known)
    loss = _next_token_loss(model, rows, targets, recipe, rng)
    _train(model, loss, recipe.story_steps, recipe, lambda step, of: report("learning stories", step, of))
    return model, rows.shape[1]


def _padded(texts: Sequence[tuple[Sequence[int], int]], known: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows of tokens' places, and the places to predict: each text's from the given position on."""
    places = {token: place for place, token in enumerate(known)}
    longest = max(len(ids) for ids, _ in texts)
    rows = torch.full((len(texts), longest), places[END_OF_TEXT])
    targets = torch.full((len(texts), longest), IGNORED)
    for row, (ids, start) in enumerate(texts):
        found = torch.tensor([places[token] for token in ids])
        rows[row, : len(ids)] = found
        targets[row, start : len(ids)] = found[start:]
    return rows, targets


def _next_token_loss(
    model: SmallGpt, rows: Tensor, targets: Tensor, recipe: Recipe, rng: random.Random
) -> Callable[[], Tensor]:
    def loss() -> Tensor:
        chosen = torch.tensor(rng.sample(range(len(rows)), min(recipe.batch, len(rows))))
        logits = model(rows[chosen])[:, :-1]
        return functional.cross_entropy(
            logits.flatten(0, 1), targets[chosen][:, 1:].flatten(), ignore_index=IGNORED
        )

    return loss


def _train(
    model: SmallGpt,
    loss: Callable[[], Tensor],
    steps: int,
    recipe: Recipe,
    report: Callable[[int, int], None],
) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=max(steps, 2))
    for step in range(steps):
        report(step, steps)
        optimiser.zero_grad()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    model.eval()


def _seeded(recipe: Recipe) -> tuple[random.Random, torch.Generator]:
    return random.Random(recipe.seed), torch.manual_seed(recipe.seed)
