"""The life of a predictor process, on the SDK's ModelServer.

The port opens at once; the model loads in a thread; ready means verified, self-tested and warm. SIGTERM:
ready goes false, work is still taken for ``drain_delay``, then refused; what was accepted is answered and the
process ends with code 0. A load that fails is shown for ``load_failure_delay`` seconds, then code 3.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import kserve
import uvloop
from grpc import aio
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.rest.server import RESTServer, _RefreshingServer

from predictors.runtime.app import App
from predictors.runtime.batching import Batcher, Limits
from predictors.runtime.cpus import available_cpus
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.engine_thread import EngineThread
from predictors.runtime.errors import LoadError
from predictors.runtime.generation import ContinuousBatcher
from predictors.runtime.lifecycle import Lifecycle, State
from predictors.runtime.metrics import Metrics
from predictors.runtime.predictor import GenerativePredictor, Predictor
from predictors.runtime.records import Records
from predictors.runtime.settings import ENDING_SECONDS, RuntimeSettings
from predictors.runtime.transports.grpc import Servicer

logger = logging.getLogger(__name__)

EXIT_PORT, EXIT_SERVER, EXIT_LOAD = 1, 1, 3


class ServedModel(kserve.Model):
    """What the SDK needs to know of the model for its metadata; inference never passes here."""

    def __init__(self, predictor: Predictor[Any, Any, Any], lifecycle: Lifecycle) -> None:
        super().__init__(predictor.name)
        self._predictor = predictor
        self._lifecycle = lifecycle

    async def healthy(self) -> bool:
        return self._lifecycle.ready

    def load(self) -> bool:
        # The SDK would load on the event loop at the first call of a model that is not ready.
        return self._lifecycle.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        return [spec.metadata() for spec in self._predictor.inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [spec.metadata() for spec in self._predictor.outputs]


class PredictorServer(kserve.ModelServer):
    def __init__(self, predictor: Predictor[Any, Any, Any], settings: RuntimeSettings) -> None:
        super().__init__(
            http_port=settings.http_port,
            grpc_port=settings.grpc_port,
            enable_grpc=settings.grpc_port > 0,
            workers=1,
            grace_period=int(settings.grace_period),
        )
        self._predictor = predictor
        self._settings = settings
        self._lifecycle = Lifecycle(predictor.healthy)
        self._metrics = Metrics(seconds=predictor.seconds)
        self._metrics.ready.set_function(lambda: self._lifecycle.ready)
        self._model = ServedModel(predictor, self._lifecycle)
        self.register_model(self._model)

    def run(self) -> int:
        """Serves until SIGTERM or a failed load; returns the exit code. Raises CannotListen."""
        with contextlib.ExitStack() as resources:
            http = resources.enter_context(_bound(self._settings.host, self._settings.http_port))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(self._serve_model(http))

    async def _serve_model(self, http: socket.socket) -> int:
        loop = asyncio.get_running_loop()
        settings, lifecycle, metrics = self._settings, self._lifecycle, self._metrics
        batcher = self._batcher(loop)
        tokenizers = ThreadPoolExecutor(settings.threads or available_cpus(), "tokenizer")
        dataplane = DataPlane(self._predictor, batcher, lifecycle, settings, metrics, tokenizers)
        records = Records(metrics)
        self._rest_server = rest = _Rest(App(dataplane, metrics, records), self)
        grpc_server = await self._start_grpc(dataplane, records) if self.enable_grpc else None
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        serving = asyncio.create_task(rest.serve(http))
        logger.info("Listening.", extra={"fields": {"http": self.http_port, "grpc": self.grpc_port}})
        loaded = self._load(loop)
        stopping = asyncio.create_task(stop.wait())
        background = contextlib.AsyncExitStack()
        try:
            await asyncio.wait((loaded, stopping, serving), return_when=asyncio.FIRST_COMPLETED)
            if loaded.done() and not stopping.done():
                if lifecycle.state is not State.READY:
                    await asyncio.wait((stopping, serving), timeout=settings.load_failure_delay)
                    return EXIT_LOAD
                await background.enter_async_context(self._predictor.background(dataplane))
                await asyncio.wait((stopping, serving), return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                logger.error("The HTTP server ended by itself.")
                return EXIT_SERVER
            await self._drain(dataplane, background)
            return 0
        finally:
            await background.aclose()
            batcher.abort()
            rest.stop()
            if grpc_server is not None:
                await grpc_server.stop(grace=1)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await serving
            stopping.cancel()
            tokenizers.shutdown(wait=False, cancel_futures=True)

    def _batcher(
        self, loop: asyncio.AbstractEventLoop
    ) -> Batcher[Any, Any] | ContinuousBatcher[Any, Any, Any]:
        predictor, settings, metrics = self._predictor, self._settings, self._metrics
        predictor.register(metrics)
        limits = Limits(
            settings.max_queue_items,
            settings.max_queue_tokens,
            settings.max_batch_items,
            settings.max_batch_tokens,
        )
        if isinstance(predictor, GenerativePredictor):
            return ContinuousBatcher(predictor.engine(loop, metrics), limits, metrics)
        return Batcher(EngineThread(predictor.run, loop), limits, metrics, predictor.padded)

    def _load(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: str | None, description: Mapping[str, str]) -> None:
            if error is not None:
                self._lifecycle.failed(error)
            else:
                self._opened(description)
            done.set_result(None)

        def load() -> None:
            description: Mapping[str, str] = {}
            try:
                self._predictor.load(self._stage)
                self._stage("self-test")
                self._predictor.self_test()
                description = self._predictor.description()
                # What was loaded stays: later collections need not walk through it.
                gc.collect()
                gc.freeze()
                error = None
            except LoadError as fault:
                error = str(fault)
                logger.error("The model was not loaded: %s", error)
            except BaseException as fault:
                error = f"Unexpected {type(fault).__name__} while loading; the log says more."
                logger.exception("The model was not loaded.")
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(finish, error, description)

        # A daemon, so that SIGTERM need not wait for a load that cannot be interrupted.
        threading.Thread(target=load, name="load", daemon=True).start()
        return done

    def _stage(self, stage: str) -> None:
        self._lifecycle.stage = stage
        logger.info("Loading: %s.", stage)

    def _opened(self, description: Mapping[str, str]) -> None:
        self._lifecycle.stage = "serving"
        self._lifecycle.loaded()
        self._model.ready = True
        self._metrics.load_seconds.set(self._lifecycle.load_seconds or 0)
        labels = {key: description.get(key, "") for key in ("engine", "device", "dtype", "checksum")}
        self._metrics.model_info.labels(model=self._predictor.name, **labels).set(1)
        logger.info("Ready.", extra={"fields": {"load_seconds": round(self._lifecycle.load_seconds or 0, 3)}})

    async def _drain(self, dataplane: DataPlane[Any, Any], background: contextlib.AsyncExitStack) -> None:
        """Not ready at once; refusing after drain_delay; back when all that was accepted is answered."""
        if self._lifecycle.state is not State.READY:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.grace_period - ENDING_SECONDS
        self._lifecycle.draining()
        logger.info("Draining.")
        await asyncio.sleep(self._settings.drain_delay)
        dataplane.refuse()
        await background.aclose()
        try:
            async with asyncio.timeout_at(end):
                await dataplane.quiet()
        except TimeoutError:
            logger.warning("The grace period ended before all requests were answered.")

    async def _start_grpc(self, dataplane: DataPlane[Any, Any], records: Records) -> aio.Server:
        limit = self._settings.max_body_bytes
        server = aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a port in use is an error, not a share
            ],
        )
        servicer = Servicer(
            dataplane, self._metrics, records, self.dataplane, self.model_repository_extension
        )
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        host, port = self._settings.host, self._settings.grpc_port
        try:
            server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError:  # the host is one to listen on: HTTP does
            raise CannotListen(host, port, "it is in use") from None
        await server.start()
        return server


class CannotListen(Exception):
    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"Port {port} on {host} cannot be opened: {why}.")


class _Rest(RESTServer):
    """The SDK's REST server with our application in front of the SDK's, and our signals."""

    def __init__(self, app: App, server: PredictorServer) -> None:
        super().__init__(
            app,  # type: ignore[arg-type]
            server.dataplane,
            server.model_repository_extension,
            server.http_port,
            grace_period=1,
            timeout_keep_alive=server.timeout_keep_alive,
        )
        self.config.access_log = self.config.proxy_headers = False
        self.config.ws = "none"  # an Upgrade is an ordinary request here
        self.config.server_header = False
        self._server = _Uvicorn(self.config)

    async def serve(self, http: socket.socket) -> None:
        await self._server.serve(sockets=[http])

    def stop(self) -> None:
        self._server.should_exit = True


class _Uvicorn(_RefreshingServer):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # SIGTERM is the drain's to handle


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise CannotListen(host, port, why) from None
        listener.listen(2048)
        yield listener


def serve(predictor: Predictor[Any, Any, Any], settings: RuntimeSettings) -> int:
    """Serves one predictor to its end; returns the process's exit code."""
    try:
        return PredictorServer(predictor, settings).run()
    except CannotListen as error:
        logger.error("%s", error)
        return EXIT_PORT
