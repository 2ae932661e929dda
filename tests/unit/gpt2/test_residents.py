from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from predictors.gpt2.residents import Residents
from predictors.runtime.errors import Overloaded

SIZES = {"a": 40, "b": 40, "c": 40}


class Loads:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, name: str) -> str:
        assert self.gate.wait(10)
        self.names.append(name)
        if name == "c" and self.names.count("c") == 1:
            raise RuntimeError("the disk")
        return name.upper()


def residents(loads: Loads, *, budget: int = 100, loads_per_minute: int = 100) -> Residents[str]:
    return Residents(SIZES, loads, budget=budget, loads_per_minute=loads_per_minute)


async def test_a_model_is_loaded_once_for_all_who_want_it() -> None:
    loads = Loads()
    loads.gate.clear()
    models = residents(loads)

    async def use() -> str:
        async with models.hold("a") as model:
            return model

    users = [asyncio.create_task(use()) for _ in range(5)]
    await asyncio.sleep(0)
    users[0].cancel()  # it goes on for the others
    loads.gate.set()
    assert await asyncio.gather(*users[1:]) == ["A"] * 4
    assert loads.names == ["a"]


async def test_the_one_used_longest_ago_makes_room() -> None:
    loads = Loads()
    models = residents(loads)
    for name in ("a", "b", "a"):
        async with models.hold(name):
            pass
    with contextlib.suppress(RuntimeError):
        async with models.hold("c"):
            pass
    assert "a" in models
    assert "b" not in models


async def test_a_small_one_stays_where_a_great_one_had_to_go() -> None:
    models = Residents({"small": 10, "x": 80, "y": 80}, str.upper, budget=100, loads_per_minute=100)
    for name in ("small", "x", "y"):
        async with models.hold(name):
            pass
    assert ("small" in models, "x" in models, "y" in models) == (True, False, True)


async def test_a_model_in_use_is_not_let_go() -> None:
    models = residents(Loads())
    async with models.hold("a"), models.hold("b"):
        with pytest.raises(Overloaded, match="no memory"):
            async with models.hold("c"):
                pass
        assert models.count == 2


async def test_callers_cannot_make_it_load_for_ever() -> None:
    loads = Loads()
    models = residents(loads, budget=50, loads_per_minute=3)
    for name in ("a", "b", "a"):
        async with models.hold(name):
            pass
    with pytest.raises(Overloaded) as refused:
        async with models.hold("b"):
            pass
    assert 0 < (refused.value.retry_after or 0) <= 60
    async with models.hold("a"):  # what is there is no load
        pass
    assert loads.names == ["a", "b", "a"]


async def test_a_load_that_fails_is_tried_again() -> None:
    models = residents(Loads())
    with pytest.raises(RuntimeError, match="the disk"):
        async with models.hold("c"):
            pass
    async with models.hold("c") as model:
        assert model == "C"
