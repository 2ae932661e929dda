"""The portal's app. It listens on loopback; only Envoy reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse

from gateway import __version__
from gateway.config import Config
from gateway.portal.caller import caller_of
from gateway.portal.catalogue import allowed_routes, catalogue
from gateway.portal.documents import Documents
from gateway.portal.kubernetes import KubernetesState
from gateway.portal.openapi import merged
from gateway.portal.readiness import Readiness
from gateway.routes import DOCS_PAGES

PAGES = Path(__file__).with_name("pages")
READING = ["GET", "HEAD"]
_OF_ONE_CALLER = {"cache-control": "no-store"}
#: The page loads nothing from elsewhere, is framed by nobody, and talks to this gateway alone.
_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def create_app(config: Config, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """`transport` lets a test stand in for the predictors."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            app.state.readiness = Readiness(config, client)
            app.state.documents = Documents(config, client)
            app.state.kubernetes = KubernetesState(config)
            yield

    app = FastAPI(title="quintet", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.api_route("/health", methods=READING)
    async def health(request: Request) -> JSONResponse:
        """Needs no token, so it says this and nothing more."""
        models = await request.app.state.readiness.models()
        ready = all(models.values())
        body = {"status": "ready" if ready else "not_ready", "models": models}
        return JSONResponse(body, 200 if ready else 503, headers=_OF_ONE_CALLER)

    @app.api_route("/", methods=READING)
    @app.api_route("/models", methods=READING)
    async def models(request: Request) -> JSONResponse:
        state = request.app.state
        ready, observed = await asyncio.gather(state.readiness.models(), state.kubernetes.models())
        said = catalogue(config, caller_of(request.headers), ready, observed)
        return JSONResponse(said, headers=_OF_ONE_CALLER)

    @app.api_route("/openapi.json", methods=READING)
    async def openapi(request: Request) -> JSONResponse:
        routes = allowed_routes(config, caller_of(request.headers))
        said = await request.app.state.documents.of(routes)
        return JSONResponse(merged(routes, said, __version__), headers=_OF_ONE_CALLER)

    for path, file in DOCS_PAGES.items():
        app.add_api_route(path, _page(PAGES / file), methods=READING)
    return app


def _page(file: Path):
    async def page() -> FileResponse:
        return FileResponse(file, headers=_PAGE_HEADERS)

    return page
