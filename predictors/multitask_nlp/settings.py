"""The settings of multitask_nlp: those of every predictor, and these."""

from __future__ import annotations

from pydantic import Field

from predictors.runtime.settings import RuntimeSettings


class MultitaskSettings(RuntimeSettings):
    model_uri: str = Field("", pattern=r"^(models:/.+)?$")
    """``models:/name@alias`` or ``models:/name/version``: fetched once at start from the MLflow registry that
    MLFLOW_TRACKING_URI names, in place of the files in model_dir."""
    max_batch_tokens: int = Field(2048, ge=1)
    """Most tokens in one engine call; a longer item runs alone. The engine does not pad."""
    max_answer_tokens: int = Field(30, ge=1, le=128)
    """Longest answer to a question, in tokens."""
