"""The domain routes of the original service."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from predictors.multitask_nlp.tasks import Analysis, Query
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.transports.http import JSONResponse, Text

MAX_CHARACTERS = 100_000
"""Of a text, a question or a context; checked before anything is computed."""


class TextRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    text: Text = Field(min_length=1, max_length=MAX_CHARACTERS)


class QuestionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    context: Text = Field(min_length=1, max_length=MAX_CHARACTERS)
    question: Text = Field(min_length=1, max_length=MAX_CHARACTERS)


class SentimentResponse(BaseModel):
    text: str
    sentiment: str
    score: float


class EntityResponse(BaseModel):
    text: str
    type: str
    score: float
    start_char: int
    end_char: int


class EntitiesResponse(BaseModel):
    text: str
    entities: list[EntityResponse]


class AnswerResponse(BaseModel):
    answer: str
    start_char: int
    end_char: int
    score: float
    no_answer: bool


def router(dataplane: DataPlane[Query, Analysis]) -> APIRouter:
    routes = APIRouter(prefix="/predict", default_response_class=JSONResponse, tags=["multitask_nlp"])

    async def analysis(query: Query) -> Analysis:
        (result,) = await dataplane.infer_all([query], _place)
        return result

    @routes.post("/sentiment", response_model=SentimentResponse)
    async def sentiment(request: TextRequest) -> JSONResponse:
        """Whether a text is positive or negative; ``score`` is the probability of that."""
        found = (await analysis(Query(("sentiment",), text=request.text))).sentiment
        assert found is not None
        return JSONResponse({"text": request.text, **asdict(found)})

    @routes.post("/ner", response_model=EntitiesResponse)
    async def ner(request: TextRequest) -> JSONResponse:
        """Persons (PER), organisations (ORG), places (LOC) and others (MISC); offsets count code points."""
        found = (await analysis(Query(("ner",), text=request.text))).entities
        assert found is not None
        return JSONResponse({"text": request.text, "entities": [asdict(entity) for entity in found]})

    @routes.post("/qa", response_model=AnswerResponse)
    async def qa(request: QuestionRequest) -> JSONResponse:
        """The span of the context that answers the question, or ``no_answer``."""
        found = (await analysis(Query(("qa",), question=request.question, context=request.context))).answer
        assert found is not None
        content: dict[str, Any] = asdict(found)
        return JSONResponse(content)

    return routes


def _place(_: int, field: str) -> str:
    return field
