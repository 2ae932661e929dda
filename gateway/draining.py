"""The end of a gateway that loses no request: no longer ready, then no longer listening, then done."""

from __future__ import annotations

import asyncio

import httpx

from gateway.config import Drain

POLL_SECONDS = 0.1
_ACTIVE = "http.gateway.downstream_rq_active"


async def drain(admin: httpx.AsyncClient, plan: Drain) -> None:
    """Returns when nothing is in flight any more, or when the time for it is over.

    Raises httpx.HTTPError when Envoy no longer answers.
    """
    # /ready is 503 from now on, and every answer asks its caller to close the connection.
    await admin.post("/healthcheck/fail")
    await asyncio.sleep(plan.delay)
    await admin.post("/drain_listeners")
    if plan.grace:
        try:
            async with asyncio.timeout(plan.grace):
                while await _in_flight(admin):  # noqa: ASYNC110 (Envoy has no event for it)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return


async def _in_flight(admin: httpx.AsyncClient) -> int:
    answer = await admin.get("/stats", params={"filter": f"^{_ACTIVE}$"})
    return int(answer.text.rpartition(":")[2] or 0)
