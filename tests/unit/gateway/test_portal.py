"""Readiness: asked of all at once, soon answered, and never asked more than needed."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from gateway.config import Config
from gateway.portal import readiness
from gateway.portal.app import create_app
from gateway.portal.readiness import Readiness

from .conftest import SOUND

CONFIG = Config.model_validate(SOUND)


def fake(**answers: int) -> httpx.MockTransport:
    """Answers by host; an unknown host refuses the connection."""

    async def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v2/health/ready"
        status = answers.get(request.url.host.replace("127.0.0.1", "alpha"))
        if status is None:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(status)

    return httpx.MockTransport(handle)


async def ask(transport: httpx.AsyncBaseTransport) -> httpx.Response:
    app = create_app(CONFIG, transport)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://portal") as client,
    ):
        return await client.get("/health")


@pytest.mark.parametrize(
    ("answers", "status", "models"),
    [
        ({"alpha": 200, "beta": 200}, 200, {"alpha": True, "beta_two": True}),
        ({"alpha": 200, "beta": 503}, 503, {"alpha": True, "beta_two": False}),
        ({"alpha": 500}, 503, {"alpha": False, "beta_two": False}),
        ({"alpha": 302, "beta": 200}, 503, {"alpha": False, "beta_two": True}),
    ],
)
async def test_health(answers: dict[str, int], status: int, models: dict[str, bool]) -> None:
    response = await ask(fake(**answers))
    word = "ready" if status == 200 else "not_ready"
    assert (response.status_code, response.json()) == (status, {"status": word, "models": models})


async def test_a_model_that_says_nothing_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are asked together, so one that is silent costs one limit and not one a model."""
    monkeypatch.setattr(readiness, "ASK_SECONDS", 0.05)

    async def silent(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    response = await ask(httpx.MockTransport(silent))
    assert response.json()["models"] == {"alpha": False, "beta_two": False}


async def test_a_crowd_asks_each_model_once() -> None:
    asked: list[str] = []

    async def count(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        await asyncio.sleep(0)
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(count)) as client:
        ready = Readiness(CONFIG, client)
        answers: list[Any] = await asyncio.gather(*(ready.models() for _ in range(100)))
    assert sorted(asked) == ["127.0.0.1", "beta"]
    assert all(answer == {"alpha": True, "beta_two": True} for answer in answers)
