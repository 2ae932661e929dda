"""The settings every predictor shares: environment variables ``QUINTET_*``, each documented here."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "QUINTET_"

ENDING_SECONDS = 2.0
"""Kept of the grace period for closing connections and ending the process."""

# What Kubernetes puts into every pod for a Service named quintet-*: not ours, not a mistake.
_SERVICE_LINK = re.compile(
    r"\w+(_SERVICE_HOST=.*|_SERVICE_PORT(_\w+)?=.*|_PORT=\w+://.*|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=.*)"
)


class SettingsError(Exception):
    """The settings cannot be used; ``reasons`` has one sentence for each mistake."""

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = list(reasons)
        super().__init__("\n".join(self.reasons))


class RuntimeSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    model_dir: Path = Path("/mnt/models")
    """Folder with the weights, in the published format (KServe mounts STORAGE_URI there)."""
    host: str = "0.0.0.0"
    """Address both servers listen on."""
    http_port: int = Field(8080, ge=1, le=65535)
    """Port of REST (v1, v2, domain routes, health, metrics)."""
    grpc_port: int = Field(8081, ge=0, le=65535)
    """Port of gRPC (Open Inference Protocol); 0 turns gRPC off."""
    threads: int | None = Field(None, ge=1)
    """Threads of the engine, and as many for tokenising. Unset: what affinity and cgroup quota allow."""

    api_key: SecretStr = SecretStr("")
    """Key that callers must send as ``x-api-key``, but for health, metrics, metadata, docs; empty: none."""
    request_timeout: float = Field(30.0, gt=0, allow_inf_nan=False)
    """Seconds a request may take from its arrival; then 504. A gRPC deadline can only shorten it."""
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024)
    """Largest request body; beyond it 413."""
    max_items: int = Field(100, ge=1)
    """Most items (prompts, instances, tensor rows) in one request; beyond it 422."""

    max_queue_items: int = Field(1000, ge=1)
    """Most items waiting for the engine; beyond it 429."""
    max_queue_tokens: int = Field(128 * 1024, ge=1)
    """Most tokens waiting for the engine; beyond it 429."""
    max_queue_bytes: int = Field(128 * 1024 * 1024, ge=1)
    """Most bytes of requests under way; beyond it 429."""
    max_batch_items: int = Field(64, ge=1)
    """Most items in one engine call."""
    max_batch_tokens: int = Field(4096, ge=1)
    """Most tokens in one engine call, padding counted; a longer item runs alone."""

    drain_delay: float = Field(5.0, ge=0, allow_inf_nan=False)
    """Seconds new work is still taken after SIGTERM, while endpoints learn that we are not ready."""
    grace_period: float = Field(30.0, gt=0, allow_inf_nan=False)
    """Seconds from SIGTERM to the end of the process, drain_delay included; 2 of them are for ending."""
    load_failure_delay: float = Field(2.0, ge=0, allow_inf_nan=False)
    """Seconds a failed load stays to be seen at /health/detailed before the process exits with code 3."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    @model_validator(mode="after")
    def _drain_within_grace(self) -> Self:
        if self.drain_delay + ENDING_SECONDS > self.grace_period:
            raise ValueError(
                f"{PREFIX}GRACE_PERIOD must be {PREFIX}DRAIN_DELAY and {ENDING_SECONDS} s at least"
            )
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the settings; raises SettingsError with every mistake, unknown names included."""
        reasons = list(_unknown_names(cls, os.environ))
        try:
            settings = cls()  # pyright: ignore[reportCallIssue]  # the environment fills them
        except ValidationError as error:
            reasons += [_reason(cls, entry["loc"], entry["msg"]) for entry in error.errors()]
            raise SettingsError(reasons) from None
        if reasons:
            raise SettingsError(reasons)
        return settings


def _reason(cls: type[RuntimeSettings], location: tuple[int | str, ...], message: str) -> str:
    name = f"{_given_name(cls, str(location[0]))}: " if location else ""
    return f"{name}{message.removeprefix('Value error, ')}."


def _given_name(cls: type[RuntimeSettings], found: str) -> str:
    """The variable a wrong value came from. A field with several names is ``found`` under its first."""
    for field in cls.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices) and found in field.validation_alias.choices:
            names = [str(choice).upper() for choice in field.validation_alias.choices]
            return next((name for name in names if name in os.environ), names[0])
    return f"{PREFIX}{found.upper()}"


def _unknown_names(cls: type[RuntimeSettings], environment: Mapping[str, str]) -> Iterable[str]:
    known = {f"{PREFIX}{field}".upper() for field in cls.model_fields}
    for name, value in sorted(environment.items()):
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        if _SERVICE_LINK.fullmatch(f"{name}={value}"):
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)
        yield f"{name} is not a setting; the nearest one is {near[0]}."
