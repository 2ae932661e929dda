"""What marks a text: the engine as the rest of the model sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from predictors.text_evaluator.evaluation import Outcome
from predictors.text_evaluator.reading import Reading


@dataclass(frozen=True, slots=True)
class Marked:
    """An outcome, and what it took."""

    outcome: Outcome
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt, found computed (prefix caching)."""
    generated_tokens: int = 0


class Engine(Protocol):
    """``load`` blocks and may be called in any thread; all else on the event loop."""

    def load(self, progress: Callable[[str], None]) -> None:
        """Raises LoadError."""
        ...

    async def mark(self, reading: Reading, *, greedy: bool = False, patient: bool = False) -> Marked:
        """``patient``: where texts wait for a place, those that are not and came a moment later go first.
        Cancelling it ends it in the engine. Raises EngineLost when the engine has died."""
        ...

    def description(self) -> Mapping[str, str]:
        """engine, device, dtype and checksum."""
        ...

    def gpu(self) -> Mapping[str, Any] | None:
        """Of the card if there is one: ``name``, and where it answers ``total_gb`` and ``used_gb``."""
        ...

    def close(self) -> None: ...
