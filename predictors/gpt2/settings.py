"""The settings of gpt2: those of every predictor, and these. The original's names are understood as well."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field

from predictors.runtime.settings import RuntimeSettings


def _also(name: str, setting: str) -> AliasChoices:
    return AliasChoices(setting, f"QUINTET_{setting}", name)


class Gpt2Settings(RuntimeSettings):
    checkpoint: Path | None = Field(
        None, validation_alias=AliasChoices("checkpoint", "QUINTET_CHECKPOINT", "CKPT_PATH")
    )
    """The default model's checkpoint or artifact (``CKPT_PATH``), if it is not in the model folder."""
    tokenizer: str = Field(
        "gpt2", validation_alias=AliasChoices("tokenizer", "QUINTET_TOKENIZER", "MODEL_NAME")
    )
    """Encoding whose vocabulary is taken from tiktoken's cache where no folder has one (``MODEL_NAME``)."""
    max_context: int = Field(
        512, ge=64, le=1024, validation_alias=AliasChoices("max_context", "QUINTET_MAX_CONTEXT", "MAX_CTX")
    )
    """Most tokens of a sequence, prompt and answer together (``MAX_CTX``)."""
    threads: int | None = Field(
        None, ge=1, validation_alias=AliasChoices("threads", "QUINTET_THREADS", "TORCH_THREADS")
    )
    """Threads of the engine (``TORCH_THREADS``). Unset: what affinity and cgroup quota allow."""
    max_new_tokens: int = Field(64, ge=1, le=1023)
    """Most tokens a request may ask for."""
    max_batch_items: int = Field(8, ge=1, le=64)
    """Sequences decoded together, for each model."""
    memory_mib: int = Field(2048, ge=64)
    """MiB for all models together: weights, and their caches when full."""
    loads_per_minute: int = Field(6, ge=1)
    """Models loaded on demand a minute, where not all fit; beyond it 429."""
    artifact_cache: Path = Path("~/.cache/quintet/gpt2")
    """Where checkpoints found in the model folder are converted to, once."""
