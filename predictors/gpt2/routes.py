"""The domain route of the original service, with its stream."""

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from predictors.gpt2.engine.decoder import Completion
from predictors.gpt2.requests import GenerateRequest
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.transports.http import JSONResponse
from predictors.runtime.transports.sse import EventStream, event


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class GenerateResponse(BaseModel):
    completion: str
    finish_reason: str = Field(
        description="`stop`: end of text or a stop string; `length`: max_new_tokens; `label`: of spam."
    )
    truncated: bool = Field(description="Whether the model read only a part of the prompt.")
    probability: float | None = Field(None, description="Of the label; for `spam` alone.")
    usage: Usage


_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "With `stream`: events `token` {text}, then `done` with the body above, or `error`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def router(
    dataplane: DataPlane[GenerateRequest, Completion], request_class: type[GenerateRequest]
) -> APIRouter:
    class StreamableRequest(request_class):  # type: ignore[valid-type,misc]
        stream: bool = Field(default=False, description="Whether to send the completion as it grows (SSE).")

    routes = APIRouter(default_response_class=JSONResponse, tags=["gpt2"])

    @routes.post("/generate", response_model=GenerateResponse, responses=_STREAMED)
    async def generate(request: StreamableRequest) -> Response:
        """Goes on with a text, answers a question, or says whether a text is spam."""
        if request.stream:
            return EventStream(_events(dataplane, request))
        (completion,) = await dataplane.infer_all([request], _place)
        return JSONResponse(_body(completion))

    return routes


async def _events(
    dataplane: DataPlane[GenerateRequest, Completion], request: GenerateRequest
) -> AsyncGenerator[bytes, None]:
    async with dataplane.stream(request) as generation:
        async for piece in generation:
            yield event("token", {"text": piece})
        yield event("done", _body(generation.result))


def _body(completion: Completion) -> dict[str, Any]:
    body: dict[str, Any] = {
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "truncated": completion.truncated,
    }
    if completion.probability is not None:
        body["probability"] = completion.probability
    prompt, answer = completion.prompt_tokens, completion.completion_tokens
    usage = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    return {**body, "usage": usage}


def _place(_: int, field: str) -> str:
    return field
