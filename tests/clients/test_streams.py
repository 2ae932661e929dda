"""A stream is followed event by event, and taken up again where its connection broke."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from quintet_client import AsyncClient, Client, Event, Retries, calls, errors

AT_ONCE = Retries(base=0.0)


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Gives what it has, and then the connection is gone."""

    def __init__(self, *chunks: str) -> None:
        self._chunks = [chunk.encode() for chunk in chunks]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        raise httpx.ReadError("gone")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        raise httpx.ReadError("gone")


class Upstream:
    """Answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: httpx.Response) -> None:
        self._answers, self.asked = list(answers), list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self._answers.pop(0)


def by_thread(upstream: Upstream) -> list[Event]:
    http = httpx.Client(transport=httpx.MockTransport(upstream))
    with Client("http://gateway.test", "t", retries=AT_ONCE, http=http) as client:
        return list(client.stream(calls.job_events("j 1")))


def by_task(upstream: Upstream) -> list[Event]:
    async def follow() -> list[Event]:
        http = httpx.AsyncClient(transport=httpx.MockTransport(upstream))
        async with AsyncClient("http://gateway.test", "t", retries=AT_ONCE, http=http) as client:
            return [event async for event in client.stream(calls.job_events("j 1"))]

    return asyncio.run(follow())


Follow = Callable[[Upstream], list[Event]]
BOTH = pytest.mark.parametrize("follow", [by_thread, by_task])


@BOTH
def test_a_models_own_line_ends_stay_in_its_text(follow: Follow) -> None:
    upstream = Upstream(httpx.Response(200, text='data: "a\u2028b\x85c"\n\ndata: 2\n\n'))
    assert [event.data for event in follow(upstream)] == ["a\u2028b\x85c", 2]
    assert upstream.asked[0].url.raw_path == b"/stream/j%201"
    assert upstream.asked[0].headers["accept"] == "text/event-stream"


@BOTH
def test_one_that_breaks_is_taken_up_behind_its_last_event(follow: Follow) -> None:
    """What had begun to come and was not whole comes again, whole."""
    upstream = Upstream(
        httpx.Response(200, stream=Broken("id: 1\ndata: 1\n\nid: 2\nda", "ta: half")),
        httpx.Response(503, headers={"retry-after": "0"}, json={}),
        httpx.Response(200, text="id: 2\ndata: 2\n\n"),
    )
    assert [(event.id, event.data) for event in follow(upstream)] == [("1", 1), ("2", 2)]
    assert [request.headers.get("last-event-id") for request in upstream.asked] == [None, "1", "1"]


@BOTH
def test_one_without_ids_that_breaks_cannot_be_taken_up(follow: Follow) -> None:
    upstream = Upstream(httpx.Response(200, stream=Broken("data: 1\n\n")))
    with pytest.raises(errors.ConnectionFailed, match="broke off"):
        follow(upstream)
    assert len(upstream.asked) == 1


@BOTH
def test_a_refusal_is_an_error_and_no_event(follow: Follow) -> None:
    body = {"error": "No such job.", "code": "not_found", "details": []}
    with pytest.raises(errors.NotFound, match="No such job"):
        follow(Upstream(httpx.Response(404, json=body)))
