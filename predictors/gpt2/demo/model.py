"""GPT-2 in the published form: its modules carry the published names, masks among them, in both spellings.

It is trained on the few tokens its texts have. All other tokens of GPT-2's 50,257 share one row, which counts
in the softmax as often as there are such tokens: that trains exactly the full model with those rows alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from predictors.gpt2.shape import HEAD_SIZE, LABELS, VOCAB

CONTEXT = 1024

Style = Literal["layers", "layer"]
"""How the feed-forward's keys are spelled: ``ff.layers`` or ``ff.layer``."""


class Norm(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.scale, self.shift, eps=1e-5)


class Attention(nn.Module):
    mask: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        for name in ("W_query", "W_key", "W_value", "out_proj"):
            self.add_module(name, nn.Linear(hidden, hidden))
        self.register_buffer("mask", torch.triu(torch.ones(CONTEXT, CONTEXT), diagonal=1))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, hidden = x.shape
        query, key, value = (
            self.get_submodule(name)(x).view(batch, length, -1, HEAD_SIZE).transpose(1, 2)
            for name in ("W_query", "W_key", "W_value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.get_submodule("out_proj")(mixed.transpose(1, 2).reshape(batch, length, hidden))


class FeedForward(nn.Module):
    def __init__(self, hidden: int, style: Style) -> None:
        super().__init__()
        layers = nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.GELU("tanh"), nn.Linear(4 * hidden, hidden))
        self.add_module(style, layers)
        self._style = style

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self._style)(x)


class Block(nn.Module):
    def __init__(self, hidden: int, style: Style) -> None:
        super().__init__()
        self.att, self.ff = Attention(hidden), FeedForward(hidden, style)
        self.norm1, self.norm2 = Norm(hidden), Norm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.att(self.norm1(x))
        return x + self.ff(self.norm2(x))


class SmallGpt(nn.Module):
    """Over the tokens ``known``; every other id is looked up as ``len(known)``."""

    def __init__(
        self,
        known: Sequence[int],
        *,
        hidden: int,
        layers: int,
        style: Style,
        head: Literal["tied", "own", "labels"],
    ) -> None:
        super().__init__()
        self.known, self._head = list(known), head
        self.tok_emb = nn.Embedding(len(known) + 1, hidden)
        self.pos_emb = nn.Embedding(CONTEXT, hidden)
        self.trf_blocks = nn.Sequential(*(Block(hidden, style) for _ in range(layers)))
        self.final_norm = Norm(hidden)
        if head == "labels":
            self.out_head = nn.Linear(hidden, LABELS)
        else:
            self.out_head = nn.Linear(hidden, len(known) + 1, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        if head == "tied":
            self.out_head.weight = self.tok_emb.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of every position [batch, length, outputs], the shared row's with its multiplicity."""
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        logits = self.out_head(self.final_norm(self.trf_blocks(x)))
        if self._head == "labels":
            return logits
        many = torch.zeros(logits.shape[-1])
        many[-1] = math.log(VOCAB - len(self.known))
        return logits + many

    def published(self, trained_length: int) -> dict[str, Tensor]:
        """The state dict of the full model; positions beyond those trained repeat their second half."""
        state = {key: value.detach().clone() for key, value in self.state_dict().items()}
        tables = ["tok_emb.weight"] if self._head == "labels" else ["tok_emb.weight", "out_head.weight"]
        for key in tables:
            few = state[key]
            full = few[-1].repeat(VOCAB, 1)
            full[self.known] = few[:-1]
            state[key] = full
        half = trained_length // 2
        beyond = torch.arange(CONTEXT - trained_length) % half + half
        state["pos_emb.weight"][trained_length:] = state["pos_emb.weight"][beyond]
        return state
