"""Trains the demo model: a Gemma-2 of a million weights that reads a text and writes mark and feedback."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM

from predictors.text_evaluator import prompt
from predictors.text_evaluator.demo.data import Example, examples
from predictors.text_evaluator.demo.templates import answer

Report = Callable[[str, int, int], None]

PAD, EOS, BOS, END = 0, 1, 2, "<end_of_turn>"
IGNORED = -100
LOGIT_CAP = 30.0
MARK_PLACE = 7
"""Which token of an answer is the mark: before it ``{``, ``"``, ``nota``, ``"``, ``:`` and a space."""


@dataclass(frozen=True)
class Recipe:
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    vocabulary: int = 1600
    examples: int = 6000
    batch: int = 8
    steps: int = 1000
    learning_rate: float = 3e-3
    seed: int = 0


QUICK = Recipe(hidden=64, layers=1, heads=2, examples=64, batch=4, steps=2)


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
    rows = sorted((_row(tokenizer, one) for one in examples(recipe.examples, recipe.seed)), key=_length)
    # Of like lengths, so that little is padding.
    batches = [rows[start : start + recipe.batch] for start in range(0, len(rows), recipe.batch)]
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps + 1, pct_start=0.1
    )
    order: list[int] = []
    for step in range(recipe.steps):
        report("learning to mark", step, recipe.steps)
        order = order or rng.sample(range(len(batches)), len(batches))
        ids, targets = _padded(batches[order.pop()])
        optimiser.zero_grad()
        _loss(model, ids, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


def _row(tokenizer: Tokenizer, one: Example) -> tuple[list[int], list[int]]:
    asked = str(prompt.build(one.curso, one.consigna, one.respuesta))
    read = [BOS, *tokenizer.encode(asked, add_special_tokens=False).ids]
    written = tokenizer.encode(answer(one.nota, one.curso) + END, add_special_tokens=False).ids
    return read, [*written, EOS]


def _length(row: tuple[Sequence[int], Sequence[int]]) -> int:
    return len(row[0]) + len(row[1])


def _padded(rows: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    longest = max(map(_length, rows))
    ids, targets = torch.full((len(rows), longest), PAD), torch.full((len(rows), longest), IGNORED)
    for index, (read, written) in enumerate(rows):
        end = len(read) + len(written)
        ids[index, :end] = torch.tensor(read + written)
        targets[index, len(read) : end] = ids[index, len(read) : end]
    return ids, targets


def _loss(model: Gemma2ForCausalLM, ids: Tensor, targets: Tensor) -> Tensor:
    """Of the answers alone: what was asked is given."""
    states = model.model(input_ids=ids, attention_mask=(ids != PAD).long()).last_hidden_state[:, :-1]
    wanted = targets[:, 1:]
    kept = wanted != IGNORED
    cap = LOGIT_CAP
    logits = cap * torch.tanh(model.lm_head(states[kept]) / cap)
    each = functional.cross_entropy(logits, wanted[kept], reduction="none")
    # The mark is one token of forty and all that is hard to know.
    place = kept.cumsum(1)[kept]
    weight = torch.where(place == MARK_PLACE, 5.0, 1.0)
    return (each * weight).sum() / weight.sum()
