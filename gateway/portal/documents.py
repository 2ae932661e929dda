"""What predictors say of themselves: their OpenAPI document and their tensors, asked for seldom and kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.config import Config

ASK_SECONDS = 2.0
KEEP_SECONDS = 60.0
TRY_AGAIN_SECONDS = 5.0
MAX_BYTES = 2 << 20


@dataclass(frozen=True)
class Said:
    openapi: dict[str, Any]
    metadata: dict[str, Any]


NOTHING = Said({}, {})


class Documents:
    """A predictor that is away is described by what it said before, and until then by its routes alone."""

    def __init__(self, config: Config, client: httpx.AsyncClient) -> None:
        self._bases = {
            name: f"http://{model.upstream.host}:{model.upstream.http_port}"
            for name, model in config.models.items()
        }
        self._client = client
        self._asking = asyncio.Lock()
        self._said: dict[str, Said] = {}
        self._until: dict[str, float] = {}

    async def of(self, models: Iterable[str]) -> dict[str, Said]:
        async with self._asking:
            now = time.monotonic()
            old = [name for name in models if self._until.get(name, 0.0) <= now]
            await asyncio.gather(*map(self._ask, old))
        return {name: self._said.get(name, NOTHING) for name in models}

    async def _ask(self, name: str) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                openapi, metadata = await asyncio.gather(
                    self._object(f"{self._bases[name]}/openapi.json"),
                    self._object(f"{self._bases[name]}/v2/models/{name}"),
                )
        except (httpx.HTTPError, TimeoutError, ValueError):
            self._until[name] = time.monotonic() + TRY_AGAIN_SECONDS
            return
        self._said[name] = Said(openapi, metadata)
        self._until[name] = time.monotonic() + KEEP_SECONDS

    async def _object(self, url: str) -> dict[str, Any]:
        """Raises ValueError for what is no JSON object, or too large a one to be a description."""
        async with self._client.stream("GET", url) as answer:
            answer.raise_for_status()
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError("too large")
        found = json.loads(body)
        if not isinstance(found, dict):
            raise ValueError("not an object")
        return found
