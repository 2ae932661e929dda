"""The settings of text_evaluator: those of every predictor, and these; the original's names do too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from predictors.runtime.settings import PREFIX, RuntimeSettings


def _names(setting: str, *originals: str) -> AliasChoices:
    return AliasChoices(f"{PREFIX}{setting}", *(originals or [setting.upper()]))


class TextEvaluatorSettings(RuntimeSettings):
    model_config = SettingsConfigDict(populate_by_name=True)

    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    """Largest request body; beyond it 413. Room for 2,000 texts."""
    request_timeout: float = Field(60.0, gt=0, allow_inf_nan=False)
    """Seconds a synchronous request may take, and a body to arrive."""
    max_items: int = Field(16, ge=1)
    """Most texts in one synchronous request (v1, v2, gRPC); more go to /evaluate."""
    max_batch_items: int = Field(32, ge=1)
    """Synchronous texts in the engine at a time. They go before those of jobs that came in the last 2 s."""
    max_batch_tokens: int = Field(65536, ge=1)
    """Their tokens, answers included."""

    # -- engine
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where vLLM runs; auto: CUDA where there is a card."""
    max_model_len: int = Field(1024, ge=256, validation_alias=_names("max_model_len"))
    """Tokens of prompt and answer together (``MAX_MODEL_LEN``)."""
    max_tokens: int = Field(200, ge=16)
    """Most tokens of an answer; one that needs more is the item's error ``length``."""
    max_feedback_chars: int = Field(400, ge=16, le=4000)
    """Longest feedback the model may write."""
    on_too_long: Literal["refuse", "truncate"] = "refuse"
    """What does not fit the context is the item's error ``too_long``, or is read in part (``truncated``), as
    long as 32 tokens of it can be."""
    temperature: float = Field(0.1, ge=0, le=2)
    """Of sampling; 0 takes the likeliest token, always the same."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Share of the likeliest tokens that are drawn from."""
    seed: int | None = Field(None, ge=0)
    """Unset: another draw each time."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "bfloat16", validation_alias=_names("dtype")
    )
    """Of weights and sums (``DTYPE``). float16 overflows in Gemma-2's activations."""
    quantization: Literal["none", "fp8"] = "none"
    """fp8 halves the weights; needs a card of compute capability 8.9 or newer."""
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    """fp8 doubles the sequences that fit beside each other."""
    gpu_memory_utilization: float = Field(
        0.90, gt=0, le=0.98, validation_alias=_names("gpu_memory_utilization")
    )
    """Share of the card's memory for weights and cache (``GPU_MEMORY_UTILIZATION``)."""
    cpu_cache_gib: int = Field(1, ge=1)
    """GiB of the cache of keys and values on a CPU."""
    tensor_parallel_size: int = Field(1, ge=1, validation_alias=_names("tensor_parallel_size"))
    """Cards that share the model (``TENSOR_PARALLEL_SIZE``)."""
    max_num_seqs: int = Field(32, ge=1, validation_alias=_names("max_num_seqs"))
    """Texts in the engine at a time, vLLM's own number (``MAX_NUM_SEQS``): more are faster together, each
    slower. 32 is what keeps P95 under 3 s on an L40 by arithmetic (its profile)."""
    block_size: int = Field(16, ge=1, validation_alias=_names("block_size"))
    """Tokens in a block of the cache, which is what is shared (``BLOCK_SIZE``); on a CPU a multiple of 32."""
    enable_prefix_caching: bool = Field(True, validation_alias=_names("enable_prefix_caching"))
    """Whether the instruction is computed once (``ENABLE_PREFIX_CACHING``)."""
    compilation_level: int = Field(2, ge=0, le=3, validation_alias=_names("compilation_level"))
    """0: nothing is compiled, the start is quicker (``COMPILATION_LEVEL``); a CPU never compiles."""
    engine_timeout: float = Field(600.0, gt=0, allow_inf_nan=False)
    """Seconds in which the engine marks none of the texts of jobs that it has: then it counts as dead, and
    the process ends."""

    # -- jobs
    store: str = "sqlite:"
    """Where jobs are kept: ``sqlite:PATH`` for one replica, ``redis://HOST:PORT/DB`` for many.

    Without a path: ``quintet/text_evaluator.db`` in ``XDG_STATE_HOME`` (``~/.local/state``).
    """
    store_max_bytes: int | None = Field(None, ge=65536)
    """Of SQLite's file; a job that would not fit, outcomes included, is 503. Unset: the disk's own end."""
    store_password: SecretStr = SecretStr("")
    """Of Redis, so that it need not stand in the address."""
    batch_size: int = Field(10, ge=1, le=500, validation_alias=_names("batch_size"))
    """Most results in one event (``BATCH_SIZE``); fewer when they are a second old."""
    job_ttl: float = Field(3600.0, gt=0, validation_alias=_names("job_ttl", "JOB_TTL_SECONDS"))
    """Seconds texts and results are kept after a job's end (``JOB_TTL_SECONDS``); its state as long again."""
    max_jobs: int = Field(50, ge=1, validation_alias=_names("max_jobs", "MAX_CONCURRENT_JOBS"))
    """Jobs that are not at their end, of all callers (``MAX_CONCURRENT_JOBS``); beyond it 429."""
    max_job_items: int = Field(2000, ge=1)
    """Most texts of a job; beyond it 422."""
    max_caller_items: int = Field(10_000, ge=1)
    """Most texts waiting of one caller; beyond it 429."""
    cleanup_interval: float = Field(
        300.0, gt=0, validation_alias=_names("cleanup_interval", "CLEANUP_INTERVAL_SECONDS")
    )
    """Seconds between two looks for jobs whose time is up (``CLEANUP_INTERVAL_SECONDS``)."""
    seconds_per_item: float = Field(
        2.0, gt=0, validation_alias=_names("seconds_per_item", "TIME_ESTIMATION_PER_ITEM")
    )
    """Estimate until there is a measured rate (``TIME_ESTIMATION_PER_ITEM``)."""
    lease: float = Field(30.0, gt=0.5)
    """Seconds within which the jobs of a replica that was not heard of are another one's (Redis)."""
    heartbeat: float = Field(10.0, gt=0)
    """Seconds of silence after which a stream sends a comment."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_tokens * 2 > self.max_model_len:
            raise ValueError(f"{PREFIX}MAX_MODEL_LEN must be twice {PREFIX}MAX_TOKENS at least")
        if self.device == "cpu" and (self.quantization == "fp8" or self.kv_cache_dtype == "fp8"):
            raise ValueError(f"fp8 needs a GPU; {PREFIX}DEVICE is cpu")
        if self.device == "cpu" and self.tensor_parallel_size > 1:
            raise ValueError(f"{PREFIX}TENSOR_PARALLEL_SIZE is for GPUs; {PREFIX}DEVICE is cpu")
        if self.quantization == "fp8" and self.dtype == "float32":
            raise ValueError(f"{PREFIX}QUANTIZATION fp8 needs {PREFIX}DTYPE bfloat16 or float16")
        if not self.store.startswith(("sqlite:", "redis://", "rediss://")):
            raise ValueError(f"{PREFIX}STORE must be sqlite:PATH or redis://HOST:PORT/DB")
        return self

    @property
    def database(self) -> Path:
        """Of ``sqlite:PATH``; ``sqlite:///abs`` and ``sqlite:///`` URLs name the absolute path."""
        path = self.store.removeprefix("sqlite:")
        if not path:
            home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
            return Path(home).expanduser() / "quintet" / "text_evaluator.db"
        return Path("/" + path.lstrip("/") if path.startswith("//") else path).expanduser()
