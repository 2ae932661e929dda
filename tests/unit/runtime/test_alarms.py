"""Many deadlines behind one timer, against the plain rule: each rings once, at its time, unless cancelled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from predictors.runtime.alarms import Alarms
from tests.support.loops import VirtualLoop

steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), st.integers(1, 20)),
        st.tuples(st.just("cancel"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(1, 8)),
    ),
    max_size=40,
)


@given(steps)
def test_each_key_rings_once_at_its_time_unless_cancelled(script: list[tuple[str, int, int]]) -> None:
    loop = VirtualLoop()
    rung: list[tuple[int, float]] = []
    expected: list[tuple[int, float]] = []
    due: dict[int, float] = {}
    alarms: Alarms[int] = Alarms(lambda key: rung.append((key, loop.now)))

    async def play(action: str, key: int, seconds: int) -> None:
        if action == "set":
            alarms.set(key, loop.now + seconds)
            due[key] = loop.now + seconds
        elif action == "cancel":
            alarms.cancel(key)
            due.pop(key, None)

    for action, key, seconds in [*script, ("pass", 0, 30)]:
        loop.run_until_complete(play(action, key, seconds))
        for _ in range(seconds if action == "pass" else 0):
            loop.now += 1
            loop.settle()
            expected += [(k, when) for k, when in due.items() if when <= loop.now]
            due = {k: when for k, when in due.items() if when > loop.now}
    assert sorted(rung) == sorted(expected)
    loop.close()


def test_what_is_due_first_need_not_be_set_first() -> None:
    loop = VirtualLoop()
    rung: list[str] = []

    async def set_both() -> Alarms[str]:
        alarms = Alarms(rung.append)
        alarms.set("late", 10.0)
        alarms.set("early", 5.0)
        return alarms

    loop.run_until_complete(set_both())
    loop.now = 5.0
    loop.settle()
    assert rung == ["early"]
    loop.now = 10.0
    loop.settle()
    assert rung == ["early", "late"]
    loop.close()
