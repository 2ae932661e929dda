"""The domain routes of the original service, and the benchmark it promised."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from predictors.prompt_classifier.scoring import Classification
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import InvalidValue, Overloaded, ServiceError
from predictors.runtime.tensors import detail
from predictors.runtime.transports.http import JSONResponse, Text

if TYPE_CHECKING:
    from predictors.prompt_classifier.predictor import PromptClassifier


class SingleRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    prompt: Text = Field(min_length=1, max_length=10_000)


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


class TokenLengths(BaseModel):
    min: int
    mean: float
    max: int


class Latency(BaseModel):
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Throughput(BaseModel):
    prompts_per_second: float
    tokens_per_second: float


class BenchmarkReport(BaseModel):
    requests: int
    prompts: int
    seconds: float
    tokens_per_prompt: TokenLengths
    latency_ms: Latency
    throughput: Throughput
    engine: str
    device: str
    dtype: str
    checksum: str


def router(dataplane: DataPlane[str, Classification], predictor: "PromptClassifier") -> APIRouter:
    limit = dataplane.settings.max_items

    class ClassifyRequest(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        # A bound of the list itself: a million mistakes in it are then one.
        prompts: list[Text] = Field(min_length=1, max_length=limit)

    class BenchmarkRequest(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        prompts: list[Text] = Field(
            default_factory=_mix, min_length=1, max_length=limit, description="Prompts of each request."
        )
        requests: int = Field(10, ge=1, le=100, description="Requests sent, at most.")
        concurrency: int = Field(1, ge=1, le=16, description="Requests under way at a time.")
        max_seconds: float = Field(10.0, ge=0.1, le=30, description="No new request is sent after this time.")

    routes = APIRouter(default_response_class=JSONResponse, tags=["prompt_classifier"])
    running = asyncio.Lock()

    @routes.post("/classify", response_model=ClassifyResponse)
    async def classify(request: ClassifyRequest) -> JSONResponse:
        """Task types and complexity of many prompts, as parallel lists."""
        return _lists(await dataplane.infer_all(request.prompts, _place))

    @routes.post("/classify/single", response_model=ClassifyResponse)
    async def classify_single(request: SingleRequest) -> JSONResponse:
        """The same for one prompt; the lists have one entry."""
        return _lists(await dataplane.infer_all([request.prompt], _place))

    @routes.post("/benchmark", response_model=BenchmarkReport)
    async def benchmark(request: BenchmarkRequest) -> JSONResponse:
        """Sends requests through the same path as callers' and reports what they took."""
        dataplane.check_accepting()
        share = dataplane.settings.max_queue_items // 2
        if request.concurrency * len(request.prompts) > share:
            message = f"times the prompts must be at most {share}, to leave room for others"
            raise InvalidValue(f"concurrency {message}.", details=[detail("concurrency", message)])
        if running.locked():
            raise Overloaded("A benchmark is already running.", retry_after=request.max_seconds)
        async with running:  # one at a time: it takes the model's capacity from everybody else
            lengths = await asyncio.to_thread(predictor.token_lengths, request.prompts)
            run = Run(request.requests, request.concurrency, request.max_seconds)
            await run.measure(lambda: dataplane.infer_all(request.prompts, _place))
        return JSONResponse({**run.report(lengths), **predictor.description()})

    return routes


class Run:
    """The requests of one benchmark and what they took."""

    def __init__(self, requests: int, concurrency: int, max_seconds: float) -> None:
        self._left, self._concurrency, self._max_seconds = requests, concurrency, max_seconds
        self._times: list[float] = []
        self._elapsed = 0.0

    async def measure(self, send: Callable[[], Awaitable[object]]) -> None:
        started = time.perf_counter()

        async def caller() -> None:
            while self._left > 0 and time.perf_counter() - started < self._max_seconds:
                self._left -= 1
                begun = time.perf_counter()
                await send()
                self._times.append(time.perf_counter() - begun)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(caller())
        except* ServiceError as errors:
            raise errors.exceptions[0] from None
        self._elapsed = time.perf_counter() - started

    def report(self, lengths: Sequence[int]) -> dict[str, Any]:
        names, shares = ("p50", "p90", "p95", "p99", "max"), (50, 90, 95, 99, 100)
        percentiles = np.percentile(np.array(self._times) * 1000, shares).round(3).tolist()
        done = len(self._times)
        return {
            "requests": done,
            "prompts": done * len(lengths),
            "seconds": round(self._elapsed, 3),
            "tokens_per_prompt": {
                "min": min(lengths),
                "mean": round(sum(lengths) / len(lengths), 1),
                "max": max(lengths),
            },
            "latency_ms": dict(zip(names, percentiles, strict=True)),
            "throughput": {
                "prompts_per_second": round(done * len(lengths) / self._elapsed, 2),
                "tokens_per_second": round(done * sum(lengths) / self._elapsed, 1),
            },
        }


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
