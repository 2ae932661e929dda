"""gpt4_nano's transformer as the runtime sees it: rows in, Triton's completions out."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from predictors.gpt4_nano import routes
from predictors.gpt4_nano.backends.rows import Completion, InvalidRow, Row, row_of
from predictors.gpt4_nano.engine import TritonEngine
from predictors.gpt4_nano.pipeline import routes as pipeline_routes
from predictors.gpt4_nano.settings import Gpt4NanoSettings
from predictors.gpt4_nano.triton import MODEL, STREAM_MODEL, Triton
from predictors.gpt4_nano.tritonserver import Ports, TritonProcess, check_repository
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import InvalidValue, LoadError, ServiceError
from predictors.runtime.metrics import Metrics
from predictors.runtime.predictor import GenerativePredictor
from predictors.runtime.tensors import TensorSpec, detail

if TYPE_CHECKING:
    from predictors.gpt4_nano.pipeline.front import Front

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.05


class Gpt4Nano(GenerativePredictor[Row, Row, Completion]):
    name = MODEL
    title = "GPT-4.1 nano on Triton"
    inputs = (
        TensorSpec("prompt", "BYTES"),
        TensorSpec("max_tokens", "INT32", optional=True),
        TensorSpec("temperature", "FP32", optional=True),
        TensorSpec("top_p", "FP32", optional=True),
        TensorSpec("stop", "BYTES", optional=True),
        TensorSpec("seed", "INT64", optional=True),
        TensorSpec("request_id", "BYTES", optional=True),
    )
    outputs = (
        TensorSpec("response", "BYTES", column=True),
        TensorSpec("tokens_used", "INT32", column=True),
        TensorSpec("prompt_tokens", "INT32", column=True),
        TensorSpec("finish_reason", "BYTES", column=True),
        TensorSpec("model", "BYTES", column=True),
    )

    def __init__(self, settings: Gpt4NanoSettings) -> None:
        self._settings = settings
        self._own: TritonProcess | None = None
        self._engine: TritonEngine | None = None
        self._checksum = ""
        address = settings.triton_url.removeprefix("grpc://").removeprefix("http://").rstrip("/")
        if not address:
            ports = _ports(settings)
            self._own = TritonProcess(settings.model_dir, LOOPBACK, ports)
            address = f"{LOOPBACK}:{ports.grpc}"
        self._address = address
        self._front = _front(settings)
        self._stopping = threading.Event()

    def engine(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> TritonEngine:
        if self._front is not None:
            self._front.start()
        self._engine = TritonEngine(Triton(self._address), loop, metrics, self._stopped)
        return self._engine

    def load(self, progress: Callable[[str], None]) -> None:
        """Until Triton has the models ready: one started here may fail, one elsewhere is waited for."""
        if self._own is not None:
            check_repository(self._settings.model_dir, (MODEL, STREAM_MODEL))
            self._checksum = _digest(self._settings)
            self._own.start()
            logger.info("Triton is started.", extra={"fields": vars(self._own.ports)})
        progress(f"waiting for Triton at {self._address}")
        assert self._engine is not None
        while not self._engine.ready:
            if self._own is not None and self._own.failed is not None:
                raise LoadError(self._own.failed)
            if self._stopping.is_set():
                raise LoadError("Stopped while waiting for Triton.")
            time.sleep(_POLL_SECONDS)
        if self._own is not None:
            self._own.ready()

    def self_test(self) -> None:
        """Triton's own warm-up has asked the model once; that it did is why it is ready."""

    def healthy(self) -> bool:
        return self._engine is not None and self._engine.ready

    def parse(self, fields: Mapping[str, Any]) -> Row:
        known = {spec.name for spec in self.inputs}
        for name in fields:
            if name not in known:
                message = f"is not an input; there are {', '.join(sorted(known))}"
                raise InvalidValue(f"{name} {message}.", details=[detail(name, message)])
        try:
            return row_of(fields)
        except InvalidRow as error:
            raise InvalidValue(f"{error}.", details=[detail(error.field, error.message)]) from None

    def run(self, batch: Sequence[Row]) -> Sequence[Completion | ServiceError]:
        raise NotImplementedError("Triton runs the batches.")

    def render(self, result: Completion) -> Mapping[str, Any]:
        return {
            "response": result.response,
            "tokens_used": result.tokens_used,
            "prompt_tokens": result.prompt_tokens,
            "finish_reason": result.finish_reason,
            "model": result.model,
        }

    def routes(self, dataplane: DataPlane[Row, Completion]) -> APIRouter:
        both = APIRouter()
        both.include_router(routes.router(dataplane))
        both.include_router(pipeline_routes.router(self._front))
        return both

    def description(self) -> Mapping[str, str]:
        where = "started here" if self._own is not None else self._address
        return {
            "engine": f"triton ({where})",
            "device": "cpu",
            "dtype": self._settings.backend or "as configured in Triton",
            "checksum": self._checksum or "of the repository in Triton",
        }

    def _stopped(self) -> None:
        self._stopping.set()
        if self._front is not None:
            self._front.stop()
        if self._own is not None:
            self._own.stop()


def _front(settings: Gpt4NanoSettings) -> Front | None:
    if not settings.kafka_bootstrap_servers:
        return None
    # Only now: without Kafka nothing of it is loaded or opened.
    from predictors.gpt4_nano.pipeline.front import Front
    from predictors.gpt4_nano.pipeline.store import open_store

    logging.getLogger("aiokafka").setLevel("ERROR")
    store = open_store(settings.results_store, settings.results_ttl)
    return Front(settings.kafka_bootstrap_servers, store, settings)


def _ports(settings: Gpt4NanoSettings) -> Ports:
    """Free ones where none are named; found together, so that they differ."""
    probes = [socket.socket() for _ in range(3)]
    for probe in probes:
        probe.bind((LOOPBACK, 0))
    free = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return Ports(
        settings.triton_http_port or free[0],
        settings.triton_grpc_port or free[1],
        settings.triton_metrics_port or free[2],
    )


def _digest(settings: Gpt4NanoSettings) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in settings.model_dir.rglob("*") if path.is_file()):
        if "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(settings.model_dir)}\0".encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
