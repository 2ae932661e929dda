"""One encoder, three heads, with the shapes and the state-dict keys of the published model."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedModel

from predictors.multitask_nlp.tasks import NER_LABELS, SENTIMENTS

_DROPOUT = 0.1


class Outputs(NamedTuple):
    """Logits in the order of the exported graph's outputs."""

    sentiment: Tensor
    """[batch, 2]"""
    ner: Tensor
    """[batch, length, 9]"""
    start: Tensor
    """[batch, length]"""
    end: Tensor
    """[batch, length]"""


class MultitaskModel(nn.Module):
    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        hidden = int(encoder.config.hidden_size)
        self.encoder = encoder
        self.sentiment_head = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(hidden, len(SENTIMENTS))
        )
        self.ner_head = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(hidden, len(NER_LABELS)))
        self.qa_head = nn.Linear(hidden, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Outputs:
        """``input_ids``, ``attention_mask``: int64 [batch, length], mask 1 for tokens and 0 for padding."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        start, end = self.qa_head(states).unbind(-1)
        return Outputs(self.sentiment_head(states[:, 0]), self.ner_head(states), start, end)

    def freeze(self, layers: int) -> None:
        """Leaves the embeddings and the first ``layers`` layers of the encoder as they are; 0 trains all."""
        if layers == 0:
            return
        parts = [self.encoder.get_input_embeddings(), *_layers(self.encoder)[:layers]]
        if (embeddings := getattr(self.encoder, "embeddings", None)) is not None:
            parts.append(embeddings)
        for part in parts:
            part.requires_grad_(False)


def task_loss(task: str, outputs: Outputs, labels: Tensor) -> Tensor:
    """Cross entropy of one task's head. ``labels``: [batch]; [batch, length] with -100; [batch, 2]."""
    cross_entropy = nn.functional.cross_entropy
    if task == "sentiment":
        return cross_entropy(outputs.sentiment, labels)
    if task == "ner":
        return cross_entropy(outputs.ner.flatten(0, 1), labels.flatten())
    starts, ends = labels.unbind(-1)
    return (cross_entropy(outputs.start, starts) + cross_entropy(outputs.end, ends)) / 2


def _layers(encoder: nn.Module) -> list[nn.Module]:
    """The encoder's layers: its longest list of equal modules."""
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len)) if lists else []
