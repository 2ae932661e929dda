"""Triton's generate extension, in the transformer's words: /generate and /generate_stream of the model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from predictors.gpt4_nano.backends.rows import (
    MAX_TOKENS,
    MOST_TOKENS,
    TEMPERATURE,
    TOP_P,
    Completion,
    InvalidRow,
    Row,
    row_of,
)
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import InvalidValue
from predictors.runtime.tensors import detail
from predictors.runtime.transports.http import JSONResponse, Text, dump
from predictors.runtime.transports.sse import EventStream

NAME = "gpt4_nano"


class GenerateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: Text
    max_tokens: int = Field(MAX_TOKENS, ge=1, le=MOST_TOKENS)
    temperature: float = Field(TEMPERATURE, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(TOP_P, gt=0, le=1)
    stop: Text | list[Text] = Field(default=[], description="Where the response ends: a string or up to 4.")
    seed: int | None = None
    request_id: Text = ""


class GenerateResponse(BaseModel):
    model_name: str
    response: str
    tokens_used: int = Field(description="Tokens of the response.")
    prompt_tokens: int
    finish_reason: str = Field(description="`stop`, `length` or `content_filter`.")
    model: str = Field(description="Which backend and model answered; a mock says that it is one.")


_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events as Triton sends them: `response` is the next piece; the last has the counts.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def router(dataplane: DataPlane[Row, Completion]) -> APIRouter:
    routes = APIRouter(default_response_class=JSONResponse, tags=["gpt4_nano"])

    @routes.post(f"/v2/models/{NAME}/generate", response_model=GenerateResponse)
    async def generate(request: GenerateRequest) -> Response:
        """One prompt, one response."""
        (completion,) = await dataplane.infer_all([_row(request)], _place)
        return JSONResponse(_body(completion))

    @routes.post(f"/v2/models/{NAME}/generate_stream", responses=_STREAMED)
    async def generate_stream(request: GenerateRequest) -> Response:
        """One prompt, its response as it grows."""
        return EventStream(_events(dataplane, _row(request)))

    return routes


async def _events(dataplane: DataPlane[Row, Completion], row: Row) -> AsyncGenerator[bytes, None]:
    async with dataplane.stream(row) as generation:
        async for piece in generation:
            yield _event({"model_name": NAME, "response": piece})
        yield _event({**_body(generation.result), "response": ""})


def _event(data: Mapping[str, Any]) -> bytes:
    # Unnamed, as Triton's are.
    return b"data: %b\n\n" % dump(data)


def _body(completion: Completion) -> dict[str, Any]:
    return {
        "model_name": NAME,
        "response": completion.response,
        "tokens_used": completion.tokens_used,
        "prompt_tokens": completion.prompt_tokens,
        "finish_reason": completion.finish_reason,
        "model": completion.model,
    }


def _row(request: GenerateRequest) -> Row:
    try:
        return row_of(request.model_dump())
    except InvalidRow as error:
        raise InvalidValue(f"{error}.", details=[detail(error.field, error.message)]) from None


def _place(_: int, field: str) -> str:
    return field
