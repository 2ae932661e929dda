"""Liveness, readiness, details, metadata and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import exposition

from predictors import __version__
from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import NotFound
from predictors.runtime.metrics import Metrics
from predictors.runtime.transports.http import JSONResponse


def router(dataplane: DataPlane[Any, Any], metrics: Metrics) -> APIRouter:
    routes = APIRouter(default_response_class=JSONResponse, tags=["health"])
    predictor, lifecycle = dataplane.predictor, dataplane.lifecycle

    def readiness(body: dict[str, Any]) -> JSONResponse:
        """Probes read the status; people read the body, which says more than an error could."""
        if lifecycle.ready:
            return JSONResponse(body)
        return JSONResponse(body, status_code=503, headers={"retry-after": "5"})

    @routes.get("/v2")
    async def server() -> JSONResponse:
        return JSONResponse({"name": "quintet", "version": __version__, "extensions": ["binary_tensor_data"]})

    @routes.get("/v2/health/live")
    async def live() -> JSONResponse:
        return JSONResponse({"live": True})

    @routes.get("/v2/health/ready")
    async def ready() -> JSONResponse:
        return readiness({"ready": lifecycle.ready})

    def check_name(model: str) -> None:
        if model != predictor.name:
            raise NotFound("This server has no model of that name.")

    @routes.get("/v2/models/{model}/ready")
    @routes.get("/v1/models/{model}")
    async def model_ready(model: str) -> JSONResponse:
        check_name(model)
        return readiness({"name": predictor.name, "ready": lifecycle.ready})

    @routes.post("/v1/models/{model}:predict", include_in_schema=False)
    async def predict_elsewhere(model: str) -> None:
        check_name(f"{model}:")  # our own is answered before; this is another model's

    @routes.get("/v1/models")
    @routes.get("/v2/models")
    async def models() -> JSONResponse:
        return JSONResponse({"models": [predictor.name]})

    @routes.get("/v2/models/{model}")
    async def metadata(model: str) -> JSONResponse:
        check_name(model)
        return JSONResponse(
            {
                "name": predictor.name,
                "platform": "quintet",
                "inputs": [spec.metadata() for spec in predictor.inputs],
                "outputs": [spec.metadata() for spec in predictor.outputs],
            }
        )

    @routes.get("/health")
    async def health() -> JSONResponse:
        service = predictor.name.replace("_", "-")
        status = "healthy" if lifecycle.ready else "unhealthy"
        return readiness({"status": status, "service": service, **predictor.health()})

    @routes.get("/health/detailed")
    async def detailed() -> JSONResponse:
        batcher = dataplane.batcher
        return readiness(
            {
                "model": predictor.name,
                "state": lifecycle.state,
                "stage": lifecycle.stage,
                "ready": lifecycle.ready,
                "seconds": round(lifecycle.seconds, 3),
                "load_seconds": lifecycle.load_seconds,
                "error": lifecycle.error,
                "last_error": batcher.last_error,
                "queue": {"items": batcher.queued_items, "tokens": batcher.queued_tokens},
                **predictor.description(),
            }
        )

    @routes.get("/metrics", include_in_schema=False)
    async def scrape() -> Response:
        return Response(
            exposition.generate_latest(metrics.registry), media_type=exposition.CONTENT_TYPE_LATEST
        )

    return routes
