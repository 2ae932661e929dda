"""prompt_classifier as the runtime sees it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter

from predictors.prompt_classifier import routes
from predictors.prompt_classifier.agreement import PROMPTS, disagreement
from predictors.prompt_classifier.scoring import Classification, classify
from predictors.prompt_classifier.settings import ClassifierSettings
from predictors.prompt_classifier.tokenizer import MAX_TOKENS, MAX_WINDOWS, PromptTokenizer, TokenizedPrompt
from predictors.runtime.cpus import available_cpus
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import Internal, InvalidValue, LoadError, ServiceError
from predictors.runtime.predictor import Predictor
from predictors.runtime.tensors import TensorSpec, detail

if TYPE_CHECKING:
    from predictors.prompt_classifier.checkpoint import Checkpoint
    from predictors.prompt_classifier.engine import Engine

logger = logging.getLogger(__name__)

_DATATYPES = {"str": "BYTES", "float": "FP32", "bool": "BOOL"}

# Known to every checkpoint, real or demo: a coding task of few words, and one far beyond the context.
_SELF_TEST = ("Prompt: Write a Python script that uses a for loop.", "word " * (MAX_TOKENS + 100))


class PromptClassifier(Predictor[str, TokenizedPrompt, Classification]):
    name = "prompt_classifier"
    title = "Prompt task and complexity classifier"
    inputs = (TensorSpec("prompt", "BYTES"),)
    outputs = tuple(TensorSpec(field.name, _DATATYPES[str(field.type)]) for field in fields(Classification))

    def __init__(self, settings: ClassifierSettings) -> None:
        self._settings = settings
        self._checkpoint: Checkpoint
        self._tokenizer: PromptTokenizer
        self._engine: Engine
        self._loaded = False

    def load(self, progress: Callable[[str], None]) -> None:
        # Only now, in the thread that loads: importing torch takes seconds, and the port is to open at once.
        progress("importing the libraries")
        # Both are read when torch is loaded. OpenMP's threads spin for seconds at a barrier by default: one
        # busy neighbour on a processor then slows torch many times over. And oneDNN keeps 1024 kernels, one
        # for each shape of a product: prompts of mixed lengths need more, and making one takes longer than
        # running it.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")
        from predictors.prompt_classifier.checkpoint import load_checkpoint
        from predictors.prompt_classifier.engine import build_engine

        settings = self._settings
        progress("reading the checkpoint")
        self._checkpoint = checkpoint = load_checkpoint(settings.model_dir)
        self._tokenizer = PromptTokenizer(
            checkpoint.tokenizer_file, windowed=settings.long_prompts == "window"
        )
        if self._tokenizer.last >= checkpoint.shape.vocab:
            raise LoadError(
                f"{checkpoint.tokenizer_file} has tokens numbered up to {self._tokenizer.last}, "
                f"the vocabulary of the weights ends at {checkpoint.shape.vocab - 1}."
            )
        progress("preparing the engine")
        threads = settings.threads or available_cpus()
        self._engine = build_engine(checkpoint, engine=settings.engine, threads=threads)
        if settings.engine == "auto" and self._engine.dtype == "int8":
            progress("comparing the int8 engine with the exact one")
            self._engine = self._agreeing(
                self._engine, build_engine(checkpoint, engine="cpu-fp32", threads=threads)
            )
        # Every length of table and buffer the engine will meet is touched before the first caller comes.
        progress("warming up")
        rng = np.random.default_rng(0)
        for length in (2, 16, 64, 128, 256, MAX_TOKENS):
            rows = max(1, min(settings.max_batch_items, settings.max_batch_tokens // length))
            ids = rng.integers(0, checkpoint.shape.vocab, (rows, length), dtype=np.int32)
            self._engine.logits(list(ids))
        self._loaded = True

    def self_test(self) -> None:
        together = self.classify(_SELF_TEST)
        for prompt, result in zip(_SELF_TEST, together, strict=True):
            (alone,) = self.classify([prompt])
            if isinstance(result, ServiceError) or isinstance(alone, ServiceError):
                raise LoadError("The self-test failed: the model's output is not finite.")
            if alone.task_type_1 != result.task_type_1:
                raise LoadError("The self-test failed: a prompt is classified differently in a batch.")

    def parse(self, fields: Mapping[str, Any]) -> str:
        for name in fields:
            if name != "prompt":
                raise InvalidValue("unknown field", details=[detail(name, "is not a field of this model")])
        prompt = fields.get("prompt")
        if not isinstance(prompt, str):
            raise InvalidValue("wrong type", details=[detail("prompt", "must be a string")])
        return prompt

    def prepare(self, items: Sequence[str]) -> Sequence[TokenizedPrompt | ServiceError]:
        return [_too_long() if work.too_long else work for work in self._tokenizer.encode(items)]

    def characters(self, items: Sequence[str]) -> int:
        return sum(map(len, items))

    def tokens(self, work: TokenizedPrompt) -> int:
        return work.tokens

    def run(self, batch: Sequence[TokenizedPrompt]) -> Sequence[Classification | ServiceError]:
        return self._results(batch, self._engine)

    def render(self, result: Classification) -> Mapping[str, Any]:
        return asdict(result)

    def routes(self, dataplane: DataPlane[str, Classification]) -> APIRouter:
        return routes.router(dataplane, self)

    def description(self) -> Mapping[str, str]:
        if not self._loaded:
            return {}
        engine = self._engine
        return {
            "engine": engine.name,
            "device": engine.device,
            "dtype": engine.dtype,
            "checksum": self._checkpoint.checksum,
        }

    def classify(self, prompts: Sequence[str]) -> list[Classification | ServiceError]:
        """Prompts classified by a direct call, without queue or transport."""
        return self._results(self._tokenizer.encode(prompts), self._engine)

    def token_lengths(self, prompts: Sequence[str]) -> list[int]:
        return [work.tokens for work in self._tokenizer.encode(prompts)]

    def _agreeing(self, engine: Engine, exact: Engine) -> Engine:
        """``engine`` if it says what the exact one says of the same prompts, else the exact one."""
        works = self._tokenizer.encode(PROMPTS)
        difference = disagreement(self._results(works, engine), self._results(works, exact))
        if difference is None:
            return engine
        logger.warning("Not using %s with these weights: %s.", engine.name, difference)
        return exact

    def _results(
        self, works: Sequence[TokenizedPrompt], engine: Engine
    ) -> list[Classification | ServiceError]:
        windows = [window for work in works for window in work.windows]
        rows = iter(engine.logits(windows))
        return [self._score(work, [next(rows) for _ in work.windows]) for work in works]

    def _score(self, work: TokenizedPrompt, rows: list[np.ndarray]) -> Classification | ServiceError:
        # The heads are linear over the mean of all tokens, so the mean over several windows' tokens is the
        # mean of the windows' logits weighted by their lengths.
        logits = np.average(rows, axis=0, weights=[len(window) for window in work.windows])
        if not np.isfinite(logits).all():
            return Internal("The model's output for this prompt is not finite.")
        return classify(logits.astype(np.float32), work.truncated, self._checkpoint.config)


def _too_long() -> InvalidValue:
    message = f"must be at most {MAX_WINDOWS * (MAX_TOKENS - 2)} tokens"
    return InvalidValue(f"The prompt {message}.", details=[detail("prompt", message)])
