"""gpt2 as the runtime sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from prometheus_client import Gauge
from pydantic import ValidationError

from predictors.gpt2 import routes
from predictors.gpt2.engine.decoder import Completion, Model, TextDecoder, Work
from predictors.gpt2.engine.sampling import Sampling
from predictors.gpt2.loading import Loader
from predictors.gpt2.requests import GenerateRequest, request_class
from predictors.gpt2.residents import Residents
from predictors.gpt2.settings import Gpt2Settings
from predictors.gpt2.shape import END_OF_TEXT, ModelShape
from predictors.gpt2.sources import GENERATE, SPAM, find_sources
from predictors.gpt2.tasks import SPAM_LENGTH, Task, tasks_of
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.decoding import DecoderThread, decode
from predictors.runtime.errors import InvalidValue, LoadError, ServiceError
from predictors.runtime.metrics import Metrics
from predictors.runtime.predictor import GenerativePredictor
from predictors.runtime.tensors import TensorSpec, detail

logger = logging.getLogger(__name__)

_GREEDY = Sampling(temperature=0, top_p=1, top_k=1, seed=None)
_SELF_TEST = ("The quick brown fox", "Congratulations! You have won")
_ROUNDING = 0.2
"""How far the self-test lets a text in a batch be from the same alone; another text is further by far."""


class Gpt2(GenerativePredictor[GenerateRequest, Work, Completion]):
    name = "gpt2"
    title = "GPT-2 text generation"
    inputs = (
        TensorSpec("prompt", "BYTES"),
        TensorSpec("task_name", "BYTES", optional=True),
        TensorSpec("max_new_tokens", "INT64", optional=True),
        TensorSpec("temperature", "FP64", optional=True),
        TensorSpec("top_p", "FP64", optional=True),
        TensorSpec("top_k", "INT64", optional=True),
        TensorSpec("stop", "BYTES", optional=True),
        TensorSpec("seed", "INT64", optional=True),
        TensorSpec("echo", "BOOL", optional=True),
        TensorSpec("special", "BOOL", optional=True),
    )
    outputs = (
        TensorSpec("completion", "BYTES"),
        TensorSpec("finish_reason", "BYTES"),
        TensorSpec("prompt_tokens", "INT64"),
        TensorSpec("completion_tokens", "INT64"),
        TensorSpec("truncated", "BOOL"),
        TensorSpec("probability", "FP32", optional=True),
    )

    def __init__(self, settings: Gpt2Settings) -> None:
        self._settings = settings
        self._request = request_class(settings.max_new_tokens)
        self._tasks: dict[str, Task] = {}
        self._residents: Residents[Model]
        self._checksum = ""

    def load(self, progress: Callable[[str], None]) -> None:
        settings = self._settings
        loader = Loader(settings)
        progress("looking for weights")
        sources = find_sources(settings.model_dir, settings.checkpoint)
        artifacts = {}
        for name, source in sources.items():
            if not source.converted:
                progress(f"converting {source.path.name} (once)")
            artifacts[name] = loader.artifact(source)
            if artifacts[name].shape.classifies != (name == SPAM):
                raise LoadError(f"{source.path} is not a model for the task {name}: its head is another one.")
            _check_context(source.path, artifacts[name].shape, settings)
        sizes = {name: loader.bytes_needed(artifact) for name, artifact in artifacts.items()}
        budget = settings.memory_mib << 20
        for name, size in sizes.items():
            if size > budget:
                raise LoadError(
                    f"{sources[name].path} needs {size >> 20} MiB with its cache; QUINTET_MEMORY_MIB is"
                    f" {settings.memory_mib}."
                )
        self._residents = Residents(
            sizes,
            lambda name: loader.load(name, artifacts[name]),
            budget=budget,
            loads_per_minute=settings.loads_per_minute,
        )
        taken = 0
        for name, artifact in artifacts.items():
            if taken + sizes[name] <= budget:
                taken += sizes[name]
                progress(f"loading {name}")
                self._residents.put(name, loader.load(name, artifact))
        self._checksum = next(iter(artifacts.values())).checksum
        self._tasks = tasks_of(artifacts)

    def self_test(self) -> None:
        """Each model says finite things, and the same of a prompt alone and in a batch."""
        for task in self._tasks.values():
            if task.model not in self._residents:
                continue
            works = [
                self._work(self._request(prompt=prompt, max_new_tokens=4), task, _GREEDY)
                for prompt in _SELF_TEST
            ]
            if any(isinstance(outcome, ServiceError) for outcome in self.run(works)):
                raise LoadError(f"The self-test of {task.name} failed: the model's output is not finite.")
            session = self._residents.get(task.model).session
            if not task.classifies and session.dependence([work.ids for work in works]) > _ROUNDING:
                raise LoadError(f"The self-test of {task.name} failed: a text differs in a batch.")

    def parse(self, fields: Mapping[str, Any]) -> GenerateRequest:
        try:
            return self._request.model_validate(fields)
        except ValidationError as error:
            details = [
                detail(_path(entry["loc"]), entry["msg"].removeprefix("Value error, "))
                for entry in error.errors()[:20]
            ]
            raise InvalidValue("A field is not allowed.", details=details) from None

    @contextlib.asynccontextmanager
    async def hold(self, items: Sequence[GenerateRequest]) -> AsyncIterator[None]:
        models = sorted({self.task(item).model for item in items})
        if not self._residents.fit(models):  # to try again later would not help
            message = f"must not mix {' and '.join(models)} in one call: memory holds fewer"
            raise InvalidValue(f"task_name {message}.", details=[detail("task_name", message)])
        async with contextlib.AsyncExitStack() as stack:
            for model in models:
                await stack.enter_async_context(self._residents.hold(model))
            yield

    def prepare(self, items: Sequence[GenerateRequest]) -> Sequence[Work | ServiceError]:
        return [
            self._work(item, self.task(item), Sampling(item.temperature, item.top_p, item.top_k, item.seed))
            for item in items
        ]

    def characters(self, items: Sequence[GenerateRequest]) -> int:
        return sum(len(item.prompt) for item in items)

    def tokens(self, work: Work) -> int:
        return work.tokens

    def run(self, batch: Sequence[Work]) -> Sequence[Completion | ServiceError]:
        return decode(TextDecoder(), batch)

    def engine(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> DecoderThread[Work]:
        return DecoderThread(TextDecoder(), loop, metrics)

    def render(self, result: Completion) -> Mapping[str, Any]:
        return {
            "completion": result.text,
            "finish_reason": result.finish_reason,
            "prompt_tokens": result.prompt_tokens,
            "completion_tokens": result.completion_tokens,
            "truncated": result.truncated,
            "probability": result.probability,
        }

    def routes(self, dataplane: DataPlane[GenerateRequest, Completion]) -> APIRouter:
        return routes.router(dataplane, self._request)

    def register(self, metrics: Metrics) -> None:
        loaded = Gauge("quintet_loaded_models", "Models in memory.", registry=metrics.registry)
        loaded.set_function(lambda: self._residents.count if self._tasks else 0)

    def description(self) -> Mapping[str, str]:
        if not self._tasks:
            return {}
        return {"engine": "openvino", "device": "cpu", "dtype": "int8", "checksum": self._checksum}

    def task(self, request: GenerateRequest) -> Task:
        """The task of a request. Raises InvalidValue when no model here can do it, or not with its fields."""
        name = request.task_name
        if name not in self._tasks and name != SPAM:
            name = GENERATE
        if name not in self._tasks:
            message = f"must be {' or '.join(self._tasks)}: there is no other model here"
            raise InvalidValue(f"task_name {message}.", details=[detail("task_name", message)])
        if request.echo and self._tasks[name].classifies:
            message = f"must not be asked for with the task {SPAM}: its completion is a label, no text"
            raise InvalidValue(f"echo {message}.", details=[detail("echo", message)])
        return self._tasks[name]

    def _work(self, request: GenerateRequest, task: Task, sampling: Sampling) -> Work:
        model = self._residents.get(task.model)
        ids = model.tokenizer.encode(task.template.format(request.prompt), special=request.special)
        if task.classifies:
            read = ids[:SPAM_LENGTH]
            padded = read + [END_OF_TEXT] * (SPAM_LENGTH - len(read))
            return Work(model, padded, 0, _GREEDY, truncated=len(ids) > len(read), prompt_tokens=len(read))
        # As published: of a long text the end is what is gone on with.
        read = ids[-(model.session.context - request.max_new_tokens) :]
        return Work(
            model,
            read,
            request.max_new_tokens,
            sampling,
            stop=tuple(request.stop),
            echo=request.echo,
            truncated=len(ids) > len(read),
            prompt_tokens=len(read),
        )


def _check_context(path: Path, shape: ModelShape, settings: Gpt2Settings) -> None:
    context = min(shape.context, settings.max_context)
    if shape.classifies and shape.context < SPAM_LENGTH:
        raise LoadError(
            f"{path} has a context of {shape.context} tokens: a text to classify has {SPAM_LENGTH}."
        )
    if not shape.classifies and settings.max_new_tokens >= context:
        raise LoadError(
            f"{path} has a context of {context} tokens (its own, or MAX_CTX): QUINTET_MAX_NEW_TOKENS,"
            f" {settings.max_new_tokens}, must leave room in it for a prompt."
        )


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )
