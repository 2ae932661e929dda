"""What callers of the HTTP side hear when the store of results fails; without any Kafka."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from predictors.gpt4_nano.pipeline.front import Front
from predictors.gpt4_nano.pipeline.settings import TopicSettings
from predictors.gpt4_nano.pipeline.store import open_store
from predictors.runtime.errors import Unavailable


async def test_a_fault_of_the_store_is_said_to_pass_and_its_words_are_not_told(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    store = open_store(str(path), 60)
    front = Front("127.0.0.1:9", store, TopicSettings())  # pyright: ignore[reportCallIssue]
    assert await front.result("ann", "one") is None
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE requests")
    with pytest.raises(Unavailable) as caught:
        await front.result("ann", "one")
    other.close()
    await store.close()
    assert caught.value.message == "The store of results cannot be reached."
    assert caught.value.retry_after == 2
