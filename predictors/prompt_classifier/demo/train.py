"""Trains the demo checkpoint: one pass over freshly made prompts, eight cross entropies at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from predictors.prompt_classifier.demo.data import Prompt, make_prompts, training_texts
from predictors.prompt_classifier.demo.evaluation import evaluate
from predictors.prompt_classifier.demo.model import PromptClassifier, backbone_config, narrow_positions, pad
from predictors.prompt_classifier.demo.published import HEADS
from predictors.prompt_classifier.demo.tokenizer import MAX_LENGTH, SEP_ID, UNK_ID, train_tokenizer

Report = Callable[[str, int, int], None]
"""Called with what is being done, the step, and the number of steps."""


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on."""

    seed: int = 20
    prompts: int = 16_000
    heldout: int = 2_000
    tokenizer_texts: int = 8_000
    vocab_size: int = 5_000
    hidden: int = 128
    layers: int = 3
    batch_tokens: int = 1_500
    learning_rate: float = 1.5e-3
    warmup: float = 0.08
    replaced_tokens: float = 0.06
    """Share of a training prompt's tokens swapped for random ones: users bring words never seen here."""


class Trained(NamedTuple):
    model: PromptClassifier
    tokenizer: Tokenizer
    metrics: dict[str, Any]


def train(recipe: Recipe, report: Report) -> Trained:
    torch.manual_seed(recipe.seed)
    report("making prompts", 0, 1)
    prompts = make_prompts(recipe.prompts, seed=recipe.seed, split="train")
    report("training the tokenizer", 0, 1)
    tokenizer = train_tokenizer(training_texts(recipe.tokenizer_texts, seed=recipe.seed), recipe.vocab_size)
    model = PromptClassifier(
        backbone_config(tokenizer.get_vocab_size(), hidden=recipe.hidden, layers=recipe.layers)
    )
    _fit(model, encode(tokenizer, prompts), recipe, tokenizer.get_vocab_size(), report)
    report("evaluating", 0, 1)
    heldout = make_prompts(recipe.heldout, seed=recipe.seed, split="heldout")
    metrics = evaluate(predict(model, [row for row, _ in encode(tokenizer, heldout)]), labels_of(heldout))
    return Trained(model, tokenizer, metrics)


def encode(tokenizer: Tokenizer, prompts: Sequence[Prompt]) -> list[tuple[list[int], tuple[int, ...]]]:
    """Token ids, cut at the length the published model takes, with the labels."""
    encodings = tokenizer.encode_batch([prompt.text for prompt in prompts])
    rows = [
        encoding.ids if len(encoding.ids) <= MAX_LENGTH else [*encoding.ids[: MAX_LENGTH - 1], SEP_ID]
        for encoding in encodings
    ]
    return [(row, prompt.labels) for row, prompt in zip(rows, prompts, strict=True)]


def labels_of(prompts: Sequence[Prompt]) -> Tensor:
    return torch.tensor([prompt.labels for prompt in prompts])


@torch.inference_mode()
def predict(model: PromptClassifier, rows: Sequence[list[int]]) -> list[Tensor]:
    """Logits of every head for every row, in the rows' order."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    found: list[list[Tensor]] = [[] for _ in HEADS]
    for start in range(0, len(order), 64):
        ids, mask = pad([rows[index] for index in order[start : start + 64]])
        narrow_positions(model, ids.shape[1])
        for kept, logits in zip(found, model(ids, mask), strict=True):
            kept.append(logits)
    back = torch.tensor(order).argsort()
    return [torch.cat(kept)[back] for kept in found]


def _fit(
    model: PromptClassifier,
    rows: list[tuple[list[int], tuple[int, ...]]],
    recipe: Recipe,
    vocab_size: int,
    report: Report,
) -> None:
    rng = random.Random(recipe.seed)
    batches = list(_batches(rows, recipe.batch_tokens, rng))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=recipe.learning_rate,
        total_steps=len(batches),
        pct_start=recipe.warmup,
        cycle_momentum=False,
    )
    model.train()
    for step, batch in enumerate(batches, start=1):
        ids, mask = pad([row for row, _ in batch])
        ids = _with_noise(ids, vocab_size, recipe.replaced_tokens)
        labels = torch.tensor([label for _, label in batch])
        narrow_positions(model, ids.shape[1])
        loss = _loss(model(ids, mask), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report("training", step, len(batches))


def _batches(
    rows: list[tuple[list[int], tuple[int, ...]]], budget: int, rng: random.Random
) -> Iterator[list[tuple[list[int], tuple[int, ...]]]]:
    """Batches of about ``budget`` tokens, alike in length within and mixed in order."""
    shuffled = sorted(rows, key=lambda row: len(row[0]) + rng.random() * 8)
    batches: list[list[tuple[list[int], tuple[int, ...]]]] = [[]]
    for row in shuffled:
        longest = max((len(ids) for ids, _ in batches[-1]), default=0)
        if batches[-1] and max(longest, len(row[0])) * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(row)
    rng.shuffle(batches)
    return iter(batches)


def _with_noise(ids: Tensor, vocab_size: int, share: float) -> Tensor:
    """Random pieces, or unknowns, in place of some; never in place of a special token."""
    hit = (torch.rand(ids.shape) < share) & (ids > UNK_ID)
    return torch.where(hit, torch.randint(UNK_ID, vocab_size - 1, ids.shape), ids)


def _loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    losses = [functional.cross_entropy(head, labels[:, index]) for index, head in enumerate(logits)]
    return torch.stack(losses).sum() + losses[0]
