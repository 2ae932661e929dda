"""What a predictor does when asked for more than it can do, and for long."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.rawhttp import Connection, open_loop
from tests.support.servers import running

TOY = "tests.support.toy"
V1 = "/v1/models/toy:predict"


async def test_the_excess_is_refused_at_once_and_the_accepted_keep_their_deadline() -> None:
    """An engine of 200 items a second with a queue of 50 is asked for 2000 a second."""
    environment = {
        "QUINTET_MAX_QUEUE_ITEMS": "50",
        "QUINTET_MAX_BATCH_ITEMS": "10",
        "QUINTET_REQUEST_TIMEOUT": "5",
    }
    with running(TOY, environment) as server:
        body = b'{"instances": ["!sleep:0.005"]}'
        replies = await open_loop(server.http_port, V1, body, rate=2000, seconds=2)
        server.terminate()
        assert server.wait() == 0
    assert {reply.status for reply in replies} == {200, 429}, "nothing is lost and nothing expires"
    refused = [reply for reply in replies if reply.status == 429]
    assert len(refused) > len(replies) / 2
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    # Timed where the promise is made, in the server: this test's own client shares its processors.
    requests = [line for line in server.lines if line["message"] == "request"]
    times = sorted(line["seconds"] for line in requests if line["code"] == 429)
    assert times[int(len(times) * 0.99)] < 0.02
    assert max(reply.seconds for reply in replies if reply.status == 200) < 5


async def test_memory_is_flat_over_100_000_small_requests() -> None:
    with running(TOY) as server:

        async def requests(count: int) -> None:
            connection = await Connection.open(server.http_port)
            for _ in range(count):
                assert (await connection.post(V1, b'{"instances":["a"]}')).status == 200
            await connection.close()

        async def round_of(count: int) -> None:
            await asyncio.gather(*(requests(count // 16) for _ in range(16)))

        await round_of(20_000)  # buffers and caches have their size
        before = server.rss_kib()
        await round_of(100_000)
        assert server.rss_kib() - before < 2048


pytestmark = pytest.mark.timeout(300)
