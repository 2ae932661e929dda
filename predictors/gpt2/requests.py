"""What a caller may send, the same fields on every transport."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from predictors.runtime.transports.http import Text

MAX_PROMPT = 2000
"""Characters, as published."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# No Text: after a validator of one's own the length would be told in "items". Whatever has its length
# measured is refused anyhow when it is not Unicode.
Stop = Annotated[str, Field(min_length=1, max_length=64)]


class GenerateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Text = Field(min_length=1, max_length=MAX_PROMPT)
    task_name: Text | None = Field(
        default=None, description="`spam`, `got` or `generate`; anything else, or nothing, is `generate`."
    )
    max_new_tokens: int = Field(default=32, ge=1, le=64)
    temperature: float = Field(
        default=0.8, ge=0, le=2, allow_inf_nan=False, description="0 takes the likeliest token every time."
    )
    top_p: float = Field(default=0.9, gt=0, le=1, allow_inf_nan=False)
    top_k: int = Field(default=50, ge=1, le=100)
    stop: Annotated[list[Stop], BeforeValidator(_listed)] = Field(
        default_factory=list,
        max_length=8,
        description="Texts that end the completion; a single one may stand alone.",
    )
    seed: int | None = Field(
        default=None, ge=0, lt=1 << 63, description="The same seed, the same completion."
    )
    echo: bool = Field(
        default=False, description="Whether the completion begins with the text the model read."
    )
    special: bool = Field(
        default=False, description='Whether "<|endoftext|>" in the prompt is the token of that name.'
    )


def request_class(max_new_tokens: int) -> type[GenerateRequest]:
    """The same with the limit of the settings."""
    default = min(32, max_new_tokens)
    return create_model(
        "GenerateRequest",
        __base__=GenerateRequest,
        max_new_tokens=(int, Field(default=default, ge=1, le=max_new_tokens)),
    )
