"""What the consumer says about itself, on its own port."""

from __future__ import annotations

from typing import Protocol

from prometheus_client import exposition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from predictors.gpt4_nano.pipeline.metrics import PipelineMetrics


class Watched(Protocol):
    @property
    def alive(self) -> bool: ...

    def reasons(self) -> list[str]: ...


def app(service: Watched, metrics: PipelineMetrics) -> Starlette:
    async def live(_: Request) -> Response:
        return JSONResponse({"live": service.alive}, status_code=200 if service.alive else 503)

    async def ready(_: Request) -> Response:
        reasons = service.reasons()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)

    async def scrape(_: Request) -> Response:
        return Response(
            exposition.generate_latest(metrics.registry), media_type=exposition.CONTENT_TYPE_LATEST
        )

    return Starlette(
        routes=[Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", scrape)]
    )
