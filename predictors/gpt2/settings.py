"""The settings of gpt2: those of every predictor, and these. The original's names are understood as well."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from predictors.gpt2.shape import Encoding
from predictors.runtime.settings import PREFIX, RuntimeSettings


def _names(setting: str, original: str) -> AliasChoices:
    return AliasChoices(f"{PREFIX}{setting}", original)


class Gpt2Settings(RuntimeSettings):
    model_config = SettingsConfigDict(populate_by_name=True)

    checkpoint: Path | None = Field(default=None, validation_alias=_names("checkpoint", "CKPT_PATH"))
    """The default model's checkpoint or artifact (``CKPT_PATH``), if it is not in the model folder."""
    tokenizer: Encoding = Field(default="gpt2", validation_alias=_names("tokenizer", "MODEL_NAME"))
    """Encoding whose vocabulary is taken from tiktoken's cache where no folder has one (``MODEL_NAME``)."""
    max_context: int = Field(default=512, ge=16, le=1024, validation_alias=_names("max_context", "MAX_CTX"))
    """Most tokens of a sequence, prompt and answer together (``MAX_CTX``)."""
    threads: int | None = Field(default=None, ge=1, validation_alias=_names("threads", "TORCH_THREADS"))
    """Threads of the engine (``TORCH_THREADS``). Unset: what affinity and cgroup quota allow."""
    max_new_tokens: int = Field(64, ge=1, le=1023)
    """Most tokens a request may ask for."""
    max_batch_items: int = Field(8, ge=1, le=64)
    """Sequences decoded together, for each model."""
    api_key: SecretStr = Field(default=SecretStr(""), validation_alias=_names("api_key", "API_KEY"))
    """Key that callers must send as ``x-api-key`` (``API_KEY``); empty: none is needed."""
    memory_mib: int = Field(2048, ge=64)
    """MiB for all models together: weights, and their caches when full."""
    loads_per_minute: int = Field(6, ge=1)
    """Models loaded on demand a minute, where not all fit; beyond it 429."""
    artifact_cache: Path = Path("~/.cache/quintet/gpt2")
    """Where checkpoints found in the model folder are converted to, once."""
