"""POST /infer and GET /result/{request_id}, as published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field

from predictors.gpt4_nano.backends.rows import InvalidRow
from predictors.gpt4_nano.pipeline.messages import MOST_ID_LENGTH, read_payload
from predictors.gpt4_nano.pipeline.store import Entry, State
from predictors.runtime.errors import InvalidValue, NotFound, Unavailable
from predictors.runtime.tensors import detail
from predictors.runtime.transports.http import JSONResponse, Text

if TYPE_CHECKING:
    from predictors.gpt4_nano.pipeline.front import Front


class InferRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    request_id: Text = Field(min_length=1, max_length=MOST_ID_LENGTH)
    payload: dict[str, Any] = Field(
        description="prompt; max_tokens (100), temperature (0.7), top_p (1), stop, seed if wanted."
    )


class Accepted(BaseModel):
    request_id: str
    status: str = Field(description="`pending` or `done`.")


class Duplicate(Accepted):
    error: str
    code: str
    details: list[dict[str, Any]]


class Result(BaseModel):
    """As the message in inference-results: output and metadata, or error and error_type."""

    model_config = ConfigDict(extra="allow")

    request_id: str
    status: str
    success: bool


Subject = Annotated[str, Header(alias="x-quintet-subject", include_in_schema=False)]
_SOON = {"retry-after": "1"}


def router(front: Front | None) -> APIRouter:
    """``front`` is None where no Kafka is configured; then both routes say so."""
    routes = APIRouter(default_response_class=JSONResponse, tags=["gpt4_nano over Kafka"])

    def kafka() -> Front:
        if front is None:
            raise Unavailable("This server has no Kafka: QUINTET_KAFKA_BOOTSTRAP_SERVERS is not set.")
        return front

    @routes.post("/infer", status_code=202, response_model=Accepted, responses={409: {"model": Duplicate}})
    async def infer(request: InferRequest, subject: Subject = "") -> Response:
        """Takes a request to be answered later, once the broker has it."""
        body = request.model_dump()
        try:
            read_payload(request.payload, request.request_id)
        except InvalidRow as error:
            raise InvalidValue(f"{error}.", details=[detail(error.field, error.message)]) from None
        found = await kafka().submit(subject, request.request_id, body)
        if found is None:
            return JSONResponse(_state(request.request_id, State.PENDING), status_code=202)
        message = "is taken: it was sent before"
        refusal = {
            "error": f"request_id {message}.",
            "code": "conflict",
            "details": [detail("request_id", message)],
        }
        return JSONResponse(refusal | _state(request.request_id, found.state), status_code=409)

    @routes.get("/result/{request_id}", response_model=Result, responses={202: {"model": Accepted}})
    async def result(request_id: str, subject: Subject = "") -> Response:
        """What became of a request: 202 while it is not answered; the result, as often as it is asked for."""
        entry: Entry | None = await kafka().result(subject, request_id)
        if entry is None:
            raise NotFound("There is no request of that id, or its result's time is over.")
        if entry.body is None:
            return JSONResponse(_state(request_id, entry.state), status_code=202, headers=_SOON)
        return JSONResponse({**entry.body, **_state(request_id, State.DONE)})

    return routes


def _state(request_id: str, state: State) -> dict[str, str]:
    # What the broker has not acknowledged yet is pending for callers too.
    return {"request_id": request_id, "status": State.DONE if state is State.DONE else State.PENDING}
