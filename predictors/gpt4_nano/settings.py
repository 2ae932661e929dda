"""The settings of gpt4_nano's transformer: those of every predictor, and these."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr

from predictors.gpt4_nano.pipeline.settings import TopicSettings


class Gpt4NanoSettings(TopicSettings):
    """What names a backend is read inside Triton (backends/choice.py) and stands here to be checked."""

    triton_url: str = ""
    """Triton's gRPC address (``host:8001``). Empty: Triton is started here, on model_dir."""
    triton_http_port: int = Field(0, ge=0, le=65535)
    """Port of a Triton started here, on loopback; 0: any free one. So for gRPC and metrics."""
    triton_grpc_port: int = Field(0, ge=0, le=65535)
    """See triton_http_port."""
    triton_metrics_port: int = Field(0, ge=0, le=65535)
    """See triton_http_port."""
    max_batch_items: int = Field(64, ge=1)
    """Requests given to Triton at a time, which batches them; the rest wait here."""

    kafka_bootstrap_servers: str = Field(
        default="",
        validation_alias=AliasChoices(
            "QUINTET_KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP"
        ),
    )
    """Brokers for /infer and /result, comma-separated (``KAFKA_BOOTSTRAP``). Empty: both answer 503."""
    results_store: str = "~/.cache/quintet/gpt4_nano/results.sqlite"
    """Where results are kept: a SQLite file (one replica), or ``redis://host:6379/0`` (many)."""
    results_ttl: float = Field(3600.0, gt=0)
    """Seconds a request and its result are kept after their last change."""

    backend: Literal["mock", "openai", "transformers"] | None = None
    """Who answers in a Triton started here. Unset: what config.pbtxt says, which is the mock."""
    backend_threads: int | None = Field(None, ge=1)
    """Threads of each instance of the backend transformers."""
    mock_batch_seconds: float | None = Field(None, ge=0)
    """Seconds the mock takes for a batch, for trials of load."""
    openai_base_url: str | None = None
    """Any OpenAI-compatible endpoint, for example ``http://127.0.0.1:8000/v1``."""
    openai_api_key_file: Path | None = None
    """File with the key, as a Secret is mounted."""
    openai_api_key: SecretStr | None = None
    """The key itself, where there is no file."""
    openai_model: str | None = None
    """Model asked for; gpt-4.1-nano if unset."""
    openai_timeout: float | None = Field(None, gt=0)
    """Seconds for one answer of the endpoint."""
    openai_attempts: int | None = Field(None, ge=1)
    """Times a call is tried in all."""
    openai_moderation: bool | None = None
    """Whether prompts are passed through the endpoint's moderation first."""
