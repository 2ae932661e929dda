from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from predictors.text_evaluator.jobs.redis import RedisStore
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import JobStore
from tests.support.jobs import Followed
from tests.support.redis import RedisServer, redis_server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobStore]:
    """Each implementation in turn, empty; who wants its news replaces ``heard``."""
    if request.param == "sqlite":
        store: JobStore = SqliteStore(tmp_path / "jobs.db")
    else:
        server: RedisServer = request.getfixturevalue("redis")
        made = RedisStore(server.url, lease=2.0)
        await made._redis.flushall()
        store = made
    await store.open(lambda _, __: None)
    yield store
    await store.close()


@pytest.fixture
async def followed(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> Followed:
    followed = Followed(store)
    # The same store, whose news are now heard here.
    monkeypatch.setattr(store, "_listener", followed.hear)
    return followed
