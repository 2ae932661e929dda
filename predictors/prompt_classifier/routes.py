"""The domain routes of the original service, and the benchmark it promised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from predictors.prompt_classifier.scoring import Classification
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import Overloaded, ServiceError
from predictors.runtime.transports.http import JSONResponse, Text

if TYPE_CHECKING:
    from predictors.prompt_classifier.predictor import PromptClassifier


class ClassifyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    prompts: list[Text] = Field(description="1 to 100 prompts; what is beyond 512 tokens is not read.")


class SingleRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    prompt: Text = Field(min_length=1, max_length=10_000)


class BenchmarkRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    prompts: list[Text] | None = Field(None, description="Prompts of each request; default: a built-in mix.")
    requests: int = Field(10, ge=1, le=100, description="Requests sent, at most.")
    concurrency: int = Field(1, ge=1, le=16, description="Requests under way at a time.")
    max_seconds: float = Field(10.0, gt=0, le=30, description="No new request is sent after this time.")


class ClassifyResponse(BaseModel):
    """Parallel lists, one entry a prompt."""

    task_type_1: list[str]
    task_type_2: list[str]
    task_type_prob: list[float]
    creativity_scope: list[float]
    reasoning: list[float]
    contextual_knowledge: list[float]
    prompt_complexity_score: list[float]
    domain_knowledge: list[float]
    number_of_few_shots: list[float]
    no_label_reason: list[float]
    constraint_ct: list[float]
    truncated: list[bool]


class _Benchmark:
    """One benchmark at a time: it takes the model's capacity from everybody else."""

    def __init__(self, dataplane: DataPlane[str, Classification], predictor: PromptClassifier) -> None:
        self._dataplane, self._predictor = dataplane, predictor
        self._running = False

    async def run(self, request: BenchmarkRequest) -> dict[str, Any]:
        self._dataplane.check_accepting()
        prompts = _mix() if request.prompts is None else request.prompts
        self._dataplane.check_count(len(prompts), "prompts")
        if self._running:
            raise Overloaded("A benchmark is already running.", retry_after=request.max_seconds)
        self._running = True
        try:
            return await self._measure(prompts, request)
        finally:
            self._running = False

    async def _measure(self, prompts: Sequence[str], request: BenchmarkRequest) -> dict[str, Any]:
        lengths = await asyncio.to_thread(self._predictor.token_lengths, prompts)
        left, seconds = request.requests, []
        started = time.perf_counter()

        async def caller() -> None:
            nonlocal left
            while left > 0 and time.perf_counter() - started < request.max_seconds:
                left -= 1
                begun = time.perf_counter()
                await self._dataplane.infer_all(prompts, _place)
                seconds.append(time.perf_counter() - begun)

        async with asyncio.TaskGroup() as group:
            for _ in range(request.concurrency):
                group.create_task(caller())
        elapsed = time.perf_counter() - started
        percentiles = np.percentile(np.array(seconds) * 1000, (50, 90, 95, 99, 100)).round(3).tolist()
        done = len(seconds)
        return {
            "requests": done,
            "prompts": done * len(prompts),
            "seconds": round(elapsed, 3),
            "tokens_per_prompt": {
                "min": min(lengths),
                "mean": round(sum(lengths) / len(lengths), 1),
                "max": max(lengths),
            },
            "latency_ms": dict(zip(("p50", "p90", "p95", "p99", "max"), percentiles, strict=True)),
            "throughput": {
                "prompts_per_second": round(done * len(prompts) / elapsed, 2),
                "tokens_per_second": round(done * sum(lengths) / elapsed, 1),
            },
            **self._predictor.description(),
        }


def router(dataplane: DataPlane[str, Classification], predictor: PromptClassifier) -> APIRouter:
    routes = APIRouter(default_response_class=JSONResponse, tags=["prompt_classifier"])
    benchmark = _Benchmark(dataplane, predictor)

    @routes.post("/classify", response_model=ClassifyResponse)
    async def classify(request: Annotated[ClassifyRequest, Body()]) -> JSONResponse:
        """Task types and complexity of 1 to 100 prompts, as parallel lists."""
        dataplane.check_count(len(request.prompts), "prompts")
        return _lists(await dataplane.infer_all(request.prompts, _place))

    @routes.post("/classify/single", response_model=ClassifyResponse)
    async def classify_single(request: Annotated[SingleRequest, Body()]) -> JSONResponse:
        """The same for one prompt; the lists have one entry."""
        return _lists(await dataplane.infer_all([request.prompt], _place))

    @routes.post("/benchmark")
    async def run_benchmark(request: Annotated[BenchmarkRequest, Body()]) -> JSONResponse:
        """Sends requests through the same path as callers' and reports what they took."""
        try:
            return JSONResponse(await benchmark.run(request))
        except* ServiceError as group:
            raise group.exceptions[0] from None

    return routes


def _lists(results: Sequence[Classification]) -> JSONResponse:
    names = ClassifyResponse.model_fields
    return JSONResponse({name: [getattr(result, name) for result in results] for name in names})


def _place(index: int, field: str) -> str:
    return f"prompts[{index}]" if field in ("", "prompt") else f"prompts[{index}].{field}"


def _mix() -> list[str]:
    """32 prompts of log-normal length (about 65 words in the mean, 200 at most), the same each time."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(mean=3.9, sigma=0.7, size=32), 3, 200).astype(int)
    words = ["write", "explain", "a", "short", "poem", "about", "the", "function", "that", "sorts", "numbers"]
    return [" ".join(rng.choice(words, size=length)) + "." for length in lengths]
