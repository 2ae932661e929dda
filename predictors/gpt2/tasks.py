"""What can be asked: the published tasks and what each makes of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from predictors.gpt2.sources import GENERATE, GOT, SPAM

SPAM_LENGTH = 120
"""Tokens the spam model was trained on: its longest text, to which the others were padded."""


@dataclass(frozen=True)
class Task:
    name: str
    model: str
    template: str = "{}"
    """The text the model reads, byte for byte as published; ``{}`` is the prompt."""

    @property
    def classifies(self) -> bool:
        return self.name == SPAM


def tasks_of(models: Mapping[str, object]) -> dict[str, Task]:
    """The tasks that these models can do. Without a model of its own a task takes the other's."""
    text = next((name for name in (GENERATE, GOT) if name in models), None)
    tasks: dict[str, Task] = {}
    if text is not None:
        tasks[GENERATE] = Task(GENERATE, text)
        question = GOT if GOT in models else text
        tasks[GOT] = Task(GOT, question, "###### question:{}\n\n###### Response:")
    if SPAM in models:
        tasks[SPAM] = Task(SPAM, SPAM)
    return tasks
