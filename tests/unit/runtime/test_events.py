"""Server-sent events as bytes cut anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from predictors.runtime.events import Event, events
from predictors.runtime.transports.sse import HEARTBEAT, event, retry

ODD = "a\u2028b\u2029c\u0085d\u000be\u000cf\u001cg"


async def read(*chunks: bytes) -> list[Event]:
    async def come() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [one async for one in events(come())]


async def test_what_ends_a_line_only_for_some_stands_in_an_event() -> None:
    body = retry(2000) + event("batch_complete", {"feedback": ODD}, 3) + HEARTBEAT
    ((number, name, data), heartbeat) = await read(body)
    assert (number, name) == (3, "batch_complete")
    assert data is not None
    assert "\u2028" in data
    assert heartbeat.data is None


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_lines_may_end_in_three_ways_and_be_cut_anywhere(end: bytes, size: int) -> None:
    lines = [": hello", "event: a", "id: 1", "data: {", "data:}", "", "data: é\u2028", "", "data: cut off"]
    body = end.join(line.encode() for line in lines)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    assert await read(*chunks) == [
        Event(0, "", None),
        Event(1, "a", "{\n}"),
        Event(0, "", "é\u2028"),
    ]


async def test_an_event_may_end_with_the_stream() -> None:
    assert await read(b"data: x\r\r") == [Event(0, "", "x")]
