"""The count of open streams: by caller and model, never below nothing, and none is kept for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.streams import SLACK_SECONDS, Cap, Ends, OpenStreams

ALICE, BOB = ("https://i.test", "alice"), ("https://i.test", "bob")
NAMESAKE = ("https://other.test", "alice")


def two_each() -> OpenStreams:
    return OpenStreams({"m": Cap(2, 60), "n": Cap(2, 60)}, clock=lambda: 0)


def test_each_caller_and_each_model_is_counted_for_itself() -> None:
    streams = two_each()
    assert [streams.opens("m", ALICE, str(i)) for i in range(3)] == [True, True, False]
    assert streams.opens("n", ALICE, "n")
    assert streams.opens("m", BOB, "b")
    assert streams.opens("m", NAMESAKE, "a"), "the same subject of another issuer is somebody else"


def test_an_end_makes_room_for_one() -> None:
    streams = two_each()
    for i in range(3):
        streams.opens("m", ALICE, str(i))
    streams.ended("2")  # it was refused: its end is nothing
    assert not streams.opens("m", ALICE, "3")
    streams.ended("0")
    streams.ended("0")
    assert streams.opens("m", ALICE, "4")
    assert not streams.opens("m", ALICE, "5")


def test_a_stream_of_whose_end_nothing_was_heard_is_forgotten() -> None:
    now = 0.0
    streams = OpenStreams({"m": Cap(1, 60)}, clock=lambda: now)
    assert streams.opens("m", ALICE, "1")
    now = 60 + SLACK_SECONDS - 1
    assert not streams.opens("m", ALICE, "2")
    now += 1
    assert streams.opens("m", ALICE, "3")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from([ALICE, BOB]))))
def test_whatever_the_order_the_count_is_what_is_open(steps: list[tuple[bool, int, tuple[str, str]]]) -> None:
    streams, open_now = two_each(), {}
    for opens, number, caller in steps:
        name = f"{caller[1]}-{number}"
        if opens and name not in open_now:
            mine = sum(who == caller for who in open_now.values())
            assert streams.opens("m", caller, name) == (mine < 2)
            if mine < 2:
                open_now[name] = caller
        elif not opens:
            streams.ended(name)
            open_now.pop(name, None)
    for caller in (ALICE, BOB):
        assert streams.open("m", caller) == sum(who == caller for who in open_now.values())


async def test_ends_come_through_the_pipe_whole(tmp_path: Path) -> None:
    streams = two_each()
    for name in ("one", "two"):
        streams.opens("m", ALICE, name)
    ends = Ends(tmp_path / "pipe", streams)
    ends.listen()
    with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
        for part in (b"on", b"e\ntw"):
            pipe.write(part)
        while streams.open("m", ALICE) != 1:  # noqa: ASYNC110 (a turn of the loop reads the pipe)
            await asyncio.sleep(0)
        pipe.write(b"o\nunknown\n")
        while streams.open("m", ALICE):  # noqa: ASYNC110
            await asyncio.sleep(0)
    ends.close()
