"""The portal's app. It listens on loopback; only Envoy reaches it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from gateway.config import Config
from gateway.portal.readiness import Readiness


def create_app(config: Config, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """`transport` lets a test stand in for the predictors."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            app.state.readiness = Readiness(config, client)
            yield

    app = FastAPI(title="quintet", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health(request: Request) -> JSONResponse:
        """Needs no token, so it says this and nothing more."""
        models = await request.app.state.readiness.models()
        ready = all(models.values())
        body = {"status": "ready" if ready else "not_ready", "models": models}
        return JSONResponse(body, 200 if ready else 503, headers={"cache-control": "no-store"})

    return app
