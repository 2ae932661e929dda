"""The gateway most people write first: FastAPI, PyJWT with the PEM, httpx. One upstream, one route."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import jwt
import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request, Response

UPSTREAM, KEY = sys.argv[2], Path(sys.argv[3]).read_text()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=UPSTREAM) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v2/models/empty/infer")
async def infer(request: Request, authorization: str = Header()) -> Response:
    try:
        claims = jwt.decode(
            authorization.removeprefix("Bearer "),
            KEY,
            algorithms=["RS256"],
            audience="quintet",
            issuer="https://bench.test",
            options={"require": ["exp", "sub"]},
        )
    except jwt.InvalidTokenError:
        raise HTTPException(401) from None
    if "infer:empty" not in claims["scope"].split():
        raise HTTPException(403)
    headers = {"x-quintet-subject": claims["sub"], "content-type": "application/json"}
    answer = await request.app.state.client.post(
        request.url.path, content=await request.body(), headers=headers
    )
    return Response(answer.content, answer.status_code, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
