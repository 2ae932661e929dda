"""Domain routes called without FastAPI: which ones, and what is left to it."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import APIRouter, FastAPI, Header, Response
from pydantic import BaseModel, ConfigDict, Field

from predictors.runtime.transports.domain import domain_routes
from predictors.runtime.transports.http import JSONResponse, Text


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    text: Text = Field(min_length=1)
    weight: float = 1.0


class Accepted(BaseModel):
    id: str


routes = APIRouter(prefix="/notes")


@routes.post("/plain", response_model=Accepted)
async def plain(note: Note) -> JSONResponse:
    return JSONResponse({"id": note.text})


@routes.post("/streamed")
async def streamed(note: Note) -> Response:
    return JSONResponse({"id": note.text})


@routes.post("/validated")
async def validated(note: Note) -> Accepted:
    return Accepted(id=note.text)


@routes.post("/named/{name}")
async def named(name: str) -> JSONResponse:
    return JSONResponse({"id": name})


@routes.post("/headed")
async def headed(note: Note, owner: Annotated[str, Header()] = "") -> JSONResponse:
    return JSONResponse({"id": note.text + owner})


@routes.post("/asked")
async def asked(text: str) -> JSONResponse:
    return JSONResponse({"id": text})


@routes.get("/read")
async def read() -> JSONResponse:
    return JSONResponse({})


def application() -> FastAPI:
    api = FastAPI()
    api.include_router(routes)
    return api


def test_routes_that_need_nothing_of_fastapi_are_found() -> None:
    assert sorted(domain_routes(application())) == ["/notes/plain", "/notes/streamed"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (None, b'{"text": "a"}'),
        (b"application/json", b'{"text": "a"}'),
        (b"Application/JSON; charset=utf-8", b'{"text": "a", "weight": 2}'),
        (b"application/json", '{"text": "a"}'.encode("utf-16")),  # the standard library reads it too
    ],
)
def test_a_good_body_is_read(content_type: bytes | None, body: bytes) -> None:
    route = domain_routes(application())["/notes/plain"]
    given = route.read({} if content_type is None else {b"content-type": content_type}, body)
    assert isinstance(given, Note)
    assert given.text == "a"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/problem+json", b'{"text": "a"}'),
        (b"text/plain", b'{"text": "a"}'),
        (b"application/json", b""),
        (b"application/json", b'{"text": '),
        (b"application/json", b'{"text": "\xff"}'),
        (b"application/json", b"[" * 100_000),
        (b"application/json", b'["text"]'),
        (b"application/json", b"null"),
        (b"application/json", b"{}"),
        (b"application/json", b'{"text": ""}'),
        (b"application/json", b'{"text": "\\ud800"}'),
        (b"application/json", b'{"text": "a", "weight": "2"}'),
        (b"application/json", b'{"text": "a", "colour": "red"}'),
    ],
)
def test_anything_else_is_left_to_fastapi(content_type: bytes, body: bytes) -> None:
    assert domain_routes(application())["/notes/plain"].read({b"content-type": content_type}, body) is None
