"""The settings of prompt_classifier: those of every predictor, and these."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from predictors.runtime.settings import RuntimeSettings


class ClassifierSettings(RuntimeSettings):
    engine: str = "auto"
    """Engine that runs the model; ``auto`` takes the fastest measured one for this machine (README)."""
    long_prompts: Literal["truncate", "window"] = "truncate"
    """Beyond 512 tokens: keep the start, as published, or read all of it in windows of 512."""
    max_batch_tokens: int = Field(2048, ge=1)
    """Most tokens in one engine call; a longer item runs alone. The engine packs: there is no padding."""
