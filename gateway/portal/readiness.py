"""Which models are ready, asked of the predictors themselves."""

from __future__ import annotations

import asyncio
import time

import httpx

from gateway.config import Config, Upstream

ASK_SECONDS = 1.0
FRESH_SECONDS = 1.0


class Readiness:
    """Anybody may ask without a token, so however many do, each predictor is asked once a second at most."""

    def __init__(self, config: Config, client: httpx.AsyncClient) -> None:
        self._upstreams = {name: model.upstream for name, model in config.models.items()}
        self._client = client
        self._asking = asyncio.Lock()
        self._known: dict[str, bool] = {}
        self._known_until = 0.0

    async def models(self) -> dict[str, bool]:
        async with self._asking:
            if time.monotonic() >= self._known_until:
                answers = await asyncio.gather(*map(self._is_ready, self._upstreams.values()))
                self._known = dict(zip(self._upstreams, answers, strict=True))
                self._known_until = time.monotonic() + FRESH_SECONDS
            return self._known

    async def _is_ready(self, upstream: Upstream) -> bool:
        url = f"http://{upstream.host}:{upstream.http_port}/v2/health/ready"
        try:
            async with asyncio.timeout(ASK_SECONDS):  # httpx's own limits count each step for itself
                return (await self._client.get(url)).status_code == 200
        except (httpx.HTTPError, TimeoutError):
            return False
