"""Trains the demo checkpoint: one pass over freshly made prompts, eight cross entropies at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from predictors.prompt_classifier.demo.data import Prompt, make_prompts
from predictors.prompt_classifier.demo.evaluation import evaluate
from predictors.prompt_classifier.demo.model import PromptClassifier, backbone_config, narrow_positions, pad
from predictors.prompt_classifier.demo.published import HEADS
from predictors.prompt_classifier.demo.tokenizer import MAX_LENGTH, SEP_ID, UNK_ID, train_tokenizer
from predictors.runtime.progress import Report

WORKERS = 2
"""Each takes half a batch on one core. At these sizes that is faster than two threads in every product, less
upset by other work on the machine, and the result does not depend on how many cores there are.
"""
Row = tuple[list[int], tuple[int, ...]]
"""A prompt's token ids and its labels."""


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on."""

    seed: int = 20
    prompts: int = 36_000
    heldout: int = 3_000
    tokenizer_texts: int = 16_000
    vocab_size: int = 8_000
    hidden: int = 128
    layers: int = 2
    intermediate: int = 256
    batch_tokens: int = 1_000
    learning_rate: float = 2e-3
    embedding_rate: float = 4.0
    """How much faster the word embeddings learn: most words come by in few of the batches."""
    warmup: float = 0.08
    replaced_tokens: float = 0.08
    """Share of a training prompt's tokens swapped for random ones: users bring words never seen here."""


class Trained(NamedTuple):
    model: PromptClassifier
    tokenizer: Tokenizer
    metrics: dict[str, Any]


def train(recipe: Recipe, report: Report) -> Trained:
    torch.set_num_threads(1)  # the workers are the parallel part
    torch.manual_seed(recipe.seed)
    report("making prompts", 0, 1)
    prompts = make_prompts(recipe.prompts, seed=recipe.seed, split="train")
    report("training the tokenizer", 0, 1)
    texts = [prompt.text for prompt in prompts[: recipe.tokenizer_texts]]
    tokenizer = train_tokenizer(texts, recipe.vocab_size)
    config = backbone_config(
        tokenizer.get_vocab_size(),
        hidden=recipe.hidden,
        layers=recipe.layers,
        intermediate=recipe.intermediate,
    )
    model = PromptClassifier(config)
    _fit(model, encode(tokenizer, prompts), recipe, tokenizer.get_vocab_size(), report)
    report("evaluating", 0, 1)
    heldout = make_prompts(recipe.heldout, seed=recipe.seed, split="heldout")
    metrics = evaluate(predict(model, [row for row, _ in encode(tokenizer, heldout)]), labels_of(heldout))
    return Trained(model, tokenizer, metrics)


def encode(tokenizer: Tokenizer, prompts: Sequence[Prompt]) -> list[Row]:
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
    rows: Sequence[Row],
    recipe: Recipe,
    vocab_size: int,
    report: Report,
) -> None:
    batches = _batches(rows, recipe.batch_tokens, random.Random(recipe.seed))
    embedding = model.backbone.embeddings.word_embeddings.weight
    decayed = [p for p in model.parameters() if p.ndim > 1 and p is not embedding]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.01},
            {"params": plain, "weight_decay": 0.0},
            {"params": [embedding], "weight_decay": 0.0, "lr": recipe.learning_rate * recipe.embedding_rate},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=len(batches),
        pct_start=recipe.warmup,
        cycle_momentum=False,
    )
    model.train()
    with ThreadPoolExecutor(WORKERS) as workers:
        for step, batch in enumerate(batches, start=1):
            ids, mask = pad([row for row, _ in batch])
            ids = _with_noise(ids, vocab_size, recipe.replaced_tokens)
            labels = torch.tensor([label for _, label in batch])
            narrow_positions(model, ids.shape[1])
            parts = zip(ids.chunk(WORKERS), mask.chunk(WORKERS), labels.chunk(WORKERS), strict=True)
            jobs = [workers.submit(_gradients, model, *part, of=len(batch)) for part in parts]
            for parameter, *shares in zip(model.parameters(), *(job.result() for job in jobs), strict=True):
                parameter.grad = torch.stack(shares).sum(0)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            report("training", step, len(batches))


def _gradients(
    model: PromptClassifier, ids: Tensor, mask: Tensor, labels: Tensor, *, of: int
) -> tuple[Tensor, ...]:
    """A part's share in the gradients of its batch of ``of`` prompts; leaves the parameters' own alone."""
    loss = _loss(model(ids, mask), labels) * (len(ids) / of)
    return torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)


def _batches(rows: Sequence[Row], budget: int, rng: random.Random) -> list[list[Row]]:
    """Batches of about ``budget`` tokens: alike in length, so that little is padding, in random order."""
    # Sorted, so that the row to come is the longest of its batch; loosely, so that batches differ in make-up.
    batches: list[list[Row]] = [[]]
    for row in sorted(rows, key=lambda row: len(row[0]) + rng.random() * 8):
        if batches[-1] and len(row[0]) * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(row)
    rng.shuffle(batches)
    return batches


def _with_noise(ids: Tensor, vocab_size: int, share: float) -> Tensor:
    """Random pieces, or ``[UNK]``, in place of some; the other special tokens stay."""
    hit = (torch.rand(ids.shape) < share) & (ids > UNK_ID)
    return torch.where(hit, torch.randint(UNK_ID, vocab_size - 1, ids.shape), ids)


def _loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    losses = [functional.cross_entropy(head, labels[:, index]) for index, head in enumerate(logits)]
    return torch.stack(losses).sum() + losses[0]  # the task type twice: visitors look at it first
