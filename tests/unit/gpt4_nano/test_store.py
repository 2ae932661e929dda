"""Where results are kept: one behaviour, two stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from predictors.gpt4_nano.pipeline.store import Entry, ResultStore, State, open_store
from tests.support.redis import Between, RedisServer, redis_server

TTL = 60.0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "r.sqlite") if request.param == "sqlite" else request.getfixturevalue("redis").url


@pytest.fixture
async def store(url: str) -> AsyncIterator[ResultStore]:
    one = open_store(url, TTL)
    yield one
    await one.close()


def ids(request: pytest.FixtureRequest) -> str:
    return request.node.name


async def test_a_request_s_way(store: ResultStore, request: pytest.FixtureRequest) -> None:
    key = ("ann", ids(request))
    assert await store.get(*key) is None
    assert isinstance(await store.claim(*key, 30), str)
    assert await store.get(*key) == Entry(State.SENDING)
    await store.sent(*key)
    assert await store.claim(*key, 30) == Entry(State.PENDING)
    await store.finish(*key, {"a": 1})
    for _ in range(2):  # readable again
        assert await store.get(*key) == Entry(State.DONE, {"a": 1})
    assert await store.claim(*key, 30) == Entry(State.DONE, {"a": 1})


async def test_of_many_who_claim_one_gets_it(url: str, request: pytest.FixtureRequest) -> None:
    stores = [open_store(url, TTL) for _ in range(4)]
    key = ("ann", ids(request))
    claims = await asyncio.gather(*(one.claim(*key, 30) for one in stores for _ in range(8)))
    assert len([claim for claim in claims if isinstance(claim, str)]) == 1
    for one in stores:
        await one.close()


async def test_a_claim_whose_answer_was_lost_is_still_the_caller_s(redis: RedisServer) -> None:
    async with Between(redis.port) as between:
        store = open_store(between.url, TTL)
        await store.get("ann", "connected")
        between.lose_an_answer()
        assert isinstance(await store.claim("ann", "lost", 30), str)
        assert await store.claim("ann", "lost", 30) == Entry(State.SENDING)
        await store.close()


async def test_a_server_that_is_silent_is_not_waited_for_for_ever(redis: RedisServer) -> None:
    store = open_store(redis.url, TTL)
    await store.get("ann", "connected")
    redis.freeze()
    try:
        async with asyncio.timeout(30):
            with pytest.raises(Exception, match=r"[Tt]imeout"):
                await store.get("ann", "x")
    finally:
        redis.thaw()
    await store.close()


async def test_a_claim_that_was_given_up_is_free(store: ResultStore, request: pytest.FixtureRequest) -> None:
    key = ("ann", ids(request))
    submission = await store.claim(*key, 30)
    assert await store.claim(*key, 30) == Entry(State.SENDING)
    await store.give_up(*key)
    assert await store.claim(*key, 30) == submission, "the broker may have it: it is the same one"


async def test_a_claim_s_lease_ends(store: ResultStore, request: pytest.FixtureRequest) -> None:
    """Whoever claimed it and died before the broker heard of it blocks nobody for ever."""
    key = ("ann", ids(request))
    submission = await store.claim(*key, 0)
    assert await store.claim(*key, 30) == submission
    assert isinstance(submission, str)


async def test_a_result_that_came_first_stays(store: ResultStore, request: pytest.FixtureRequest) -> None:
    key = ("ann", ids(request))
    await store.claim(*key, 30)
    await store.finish(*key, {"a": 1})
    await store.sent(*key)
    await store.give_up(*key)
    assert await store.get(*key) == Entry(State.DONE, {"a": 1})


async def test_nobody_finds_another_s(store: ResultStore, request: pytest.FixtureRequest) -> None:
    name = ids(request)
    await store.finish("ann", f"x:{name}", {})
    assert await store.get("bob", f"x:{name}") is None
    assert await store.get("ann:x", name) is None


async def test_what_is_kept_outlives_the_process_and_ends_with_its_time(
    url: str, request: pytest.FixtureRequest
) -> None:
    key = ("ann", ids(request))
    first = open_store(url, TTL)
    await first.finish(*key, {"a": 1})
    await first.close()
    again = open_store(url, 0.001)
    assert await again.get(*key) == Entry(State.DONE, {"a": 1})
    await again.finish(*key, {"a": 2})
    end = time.monotonic() + 10
    while await again.get(*key) is not None:
        assert time.monotonic() < end
    await again.close()


async def test_when_its_time_is_over_an_id_is_free_for_another_submission(
    url: str, request: pytest.FixtureRequest
) -> None:
    store, key = open_store(url, 0.01), ("ann", ids(request))
    first = await store.claim(*key, 30)
    end = time.monotonic() + 10
    while await store.get(*key) is not None:
        assert time.monotonic() < end
    second = await store.claim(*key, 30)
    assert isinstance(second, str)
    assert second != first
    await store.close()
