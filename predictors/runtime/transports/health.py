"""Liveness, readiness, details and metrics."""

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
        return JSONResponse(body, status_code=200 if lifecycle.ready else 503)

    @routes.get("/v2")
    async def server() -> JSONResponse:
        return JSONResponse({"name": "quintet", "version": __version__, "extensions": ["binary_tensor_data"]})

    @routes.get("/v2/health/live")
    async def live() -> JSONResponse:
        return JSONResponse({"live": True})

    @routes.get("/v2/health/ready")
    async def ready() -> JSONResponse:
        return readiness({"ready": lifecycle.ready})

    @routes.get("/v2/models/{model}/ready")
    async def model_ready(model: str) -> JSONResponse:
        if model != predictor.name:
            raise NotFound("This server has no model of that name.")
        return readiness({"name": predictor.name, "ready": lifecycle.ready})

    @routes.get("/health")
    async def health() -> JSONResponse:
        service = predictor.name.replace("_", "-")
        return readiness({"status": "healthy" if lifecycle.ready else "unhealthy", "service": service})

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
