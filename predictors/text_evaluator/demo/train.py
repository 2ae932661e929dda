"""Trains the demo model: a Gemma-2 of a million weights that reads a text and writes mark and feedback."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM

from predictors.runtime.progress import Report
from predictors.text_evaluator import prompt
from predictors.text_evaluator.demo.data import Example, examples
from predictors.text_evaluator.demo.templates import answer

PAD, EOS, BOS, END = 0, 1, 2, "<end_of_turn>"
LOGIT_CAP = 30.0
HARD = 5.0
"""Weight in the loss of what an answer takes from the text, a tenth of it: the mark and the course."""


@dataclass(frozen=True)
class Recipe:
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    vocabulary: int = 1600
    examples: int = 6000
    batch: int = 8
    copying: int = 100
    """Steps in which it learns to name the course, before those in which it learns to mark."""
    steps: int = 800
    learning_rate: float = 3e-3
    seed: int = 0


QUICK = Recipe(hidden=64, layers=1, heads=2, examples=64, batch=4, copying=1, steps=2)


def config(recipe: Recipe, vocabulary: int) -> Gemma2Config:
    return Gemma2Config(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=2 * recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads // 2,
        head_dim=32,  # the smallest that vLLM's attention takes on a CPU
        query_pre_attn_scalar=32,
        final_logit_softcapping=LOGIT_CAP,
        max_position_embeddings=8192,
        sliding_window=4096,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
        # The one with Gemma-2's soft cap.
        attn_implementation="eager",  # pyright: ignore[reportCallIssue]
    )


def train(tokenizer: Tokenizer, recipe: Recipe, report: Report) -> Gemma2ForCausalLM:
    random.seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    model = Gemma2ForCausalLM(config(recipe, tokenizer.get_vocab_size()))
    made = examples(recipe.examples, recipe.seed)
    # Among two hundred tokens the ones to copy are found late; among ten, at once.
    short = [row(tokenizer, one, f"Alumne de {one.curso} respon") for one in made]
    whole = sorted((row(tokenizer, one) for one in made), key=len)
    # Of like lengths, so that little is padding.
    batches = [whole[start : start + recipe.batch] for start in range(0, len(whole), recipe.batch)]
    lessons = [
        *(rng.sample(short, 3 * recipe.batch) for _ in range(recipe.copying)),
        *(rng.choice(batches) for _ in range(recipe.steps)),
    ]
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.05)
    for step, lesson in enumerate(lessons):
        report("learning to mark", step, len(lessons))
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _pace(step, recipe)
        optimiser.zero_grad()
        _loss(model, *_padded(lesson)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval()


def _pace(step: int, recipe: Recipe) -> float:
    """Share of the learning rate: up quickly, kept while it learns to copy, then slowly down to nothing."""
    left = (recipe.copying + recipe.steps - step) / recipe.steps
    return min(1.0, (step + 1) / 20, left)


@dataclass(frozen=True)
class Row:
    read: list[int]
    written: list[int]
    weights: list[float]
    """Of what is written, in the loss."""

    def __len__(self) -> int:
        return len(self.read) + len(self.written)


def row(tokenizer: Tokenizer, one: Example, asked: str | None = None) -> Row:
    """``asked``: what is read in place of the whole prompt."""
    asked = asked or str(prompt.build(one.curso, one.consigna, one.respuesta))
    read = [BOS, *tokenizer.encode(asked, add_special_tokens=False).ids]
    text = answer(one.nota, one.curso)
    written = tokenizer.encode(text + END, add_special_tokens=False)
    mark, course = text.index(str(one.nota)), text.index(one.curso)
    hard = {mark, *range(course, course + len(one.curso))}
    weights = [HARD if hard & set(range(*offsets)) else 1.0 for offsets in written.offsets]
    return Row(read, [*written.ids, EOS], [*weights, 1.0])


def _padded(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Ids, and the weights of those to be foretold."""
    shape = len(rows), max(map(len, rows))
    ids, weights = torch.full(shape, PAD), torch.zeros(shape)
    for index, one in enumerate(rows):
        ids[index, : len(one)] = torch.tensor(one.read + one.written)
        weights[index, len(one.read) : len(one)] = torch.tensor(one.weights)
    return ids, weights


def _loss(model: Gemma2ForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Of the answers alone: what was asked is given."""
    states = model.model(input_ids=ids, attention_mask=(ids != PAD).long()).last_hidden_state[:, :-1]
    kept = weights[:, 1:] > 0
    logits = LOGIT_CAP * torch.tanh(model.lm_head(states[kept]) / LOGIT_CAP)
    each = functional.cross_entropy(logits, ids[:, 1:][kept], reduction="none")
    weight = weights[:, 1:][kept]
    return (each * weight).sum() / weight.sum()
