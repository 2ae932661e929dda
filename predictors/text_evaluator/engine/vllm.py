"""vLLM in process: its AsyncLLM takes texts as they come and batches them continuously."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from predictors.runtime.cpus import available_cpus
from predictors.runtime.errors import LoadError
from predictors.text_evaluator.engine import Marked
from predictors.text_evaluator.engine.children import Tether, descendants
from predictors.text_evaluator.engine.options import (
    answer_schema,
    choose_device,
    engine_arguments,
    environment,
    sampling_arguments,
)
from predictors.text_evaluator.evaluation import (
    ENGINE,
    LENGTH,
    EngineLost,
    ItemError,
    read_answer,
)
from predictors.text_evaluator.faults import log_fault
from predictors.text_evaluator.reading import Reading
from predictors.text_evaluator.settings import TextEvaluatorSettings
from predictors.text_evaluator.weights import checksum

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds by which a patient text stands behind others; for ever, and many of those would stop all jobs."""


class VllmEngine:
    def __init__(self, settings: TextEvaluatorSettings) -> None:
        self._settings = settings
        self._llm: Any = None
        self._dead: type[Exception]
        self._tether: Tether | None = None
        self._sampling: dict[bool, Any] = {}
        self._ids = itertools.count()
        self._device, self._checksum = "", ""

    def load(self, progress: Callable[[str], None]) -> None:
        settings = self._settings
        progress("reading the weights' checksum")
        self._checksum = checksum(settings.model_dir)
        # Whatever is set by hand goes first: vLLM has far more switches than we have settings.
        for name, value in environment(settings, available_cpus()).items():
            os.environ.setdefault(name, value)
        progress("importing vLLM (up to 30 s)")
        # Only here: it takes long, and the rest of the model does without.
        import torch
        from vllm.engine.arg_utils import AsyncEngineArgs  # pyright: ignore[reportMissingImports]
        from vllm.sampling_params import (  # pyright: ignore[reportMissingImports]
            RequestOutputKind,
            SamplingParams,
            StructuredOutputsParams,
        )
        from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]
        from vllm.v1.engine.exceptions import EngineDeadError  # pyright: ignore[reportMissingImports]

        capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
        self._device = choose_device(settings, capability, torch.cuda.device_count())
        progress("starting the engine")
        before = descendants(os.getpid())
        try:
            self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(settings, self._device)))
        except Exception as error:
            raise LoadError(f"vLLM did not start: {_sentence(error)}") from error
        finally:
            self._tether = Tether.of_new_children(before)
        self._dead = EngineDeadError
        for greedy in (False, True):
            self._sampling[greedy] = SamplingParams(
                **sampling_arguments(settings, greedy=greedy),
                output_kind=RequestOutputKind.FINAL_ONLY,
                structured_outputs=StructuredOutputsParams(json=answer_schema(settings)),
            )

    async def mark(self, reading: Reading, *, greedy: bool = False, patient: bool = False) -> Marked:
        output: Any = None
        try:
            prompt, sampling = {"prompt_token_ids": reading.ids}, self._sampling[greedy]
            latest = time.monotonic() + PATIENCE * patient
            # vLLM begins with the lowest.
            told = self._llm.generate(prompt, sampling, f"{next(self._ids)}", priority=round(1000 * latest))
            async for news in told:
                output = news
        except self._dead as error:
            raise EngineLost from error
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log_fault(logger, "vLLM failed on a text.", error)
            output = None
        if output is None:
            return Marked(ItemError("engine", ENGINE))
        (completion,) = output.outputs
        if completion.finish_reason == "stop":
            outcome = read_answer(completion.text)
        elif completion.finish_reason == "length":
            outcome = ItemError("length", LENGTH)
        else:
            outcome = ItemError("engine", ENGINE)
        cached = output.num_cached_tokens or 0
        return Marked(outcome, len(reading.ids), cached, len(completion.token_ids))

    def description(self) -> Mapping[str, str]:
        if self._llm is None:
            return {}
        dtype = self._settings.dtype if self._settings.quantization == "none" else self._settings.quantization
        return {"engine": "vllm", "device": self._device, "dtype": dtype, "checksum": self._checksum}

    def gpu(self) -> Mapping[str, Any] | None:
        if self._device != "cuda":
            return None
        import torch

        try:
            free, total = torch.cuda.mem_get_info()
            name = torch.cuda.get_device_name()
        except RuntimeError:  # a card that has failed; whoever asks is told the rest
            return {"name": ""}
        return {"name": name, "total_gb": round(total / 1e9, 2), "used_gb": round((total - free) / 1e9, 2)}

    def close(self) -> None:
        if self._llm is not None:
            with contextlib.suppress(Exception):
                self._llm.shutdown()
        if self._tether is not None:
            self._tether.cut()


def _sentence(error: Exception) -> str:
    """The first line of what vLLM says, which is written for operators."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
