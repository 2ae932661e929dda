"""A job from its texts to its outcomes, while connections and the service come and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx

from predictors.runtime.events import events

T = TypeVar("T")
Row = dict[str, Any]
"""``index``, ``id_alumno``, and ``nota`` with ``feedback`` or ``code`` with ``error``."""

PATIENCE = 900.0
"""Seconds: a large model takes minutes to start again."""
_SIGNAL_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_COME_BACK = (429, 502, 503, 504)


class EvaluationFailed(Exception):
    """The service refused, or was away for too long; its own sentence where it said one."""


class _Away:
    """How long the service may be away: ``patience`` seconds from the first time it did not do its part."""

    def __init__(self, patience: float, on_wait: Callable[[str, float], None]) -> None:
        self._patience, self._on_wait = patience, on_wait
        self._since: float | None = None
        self._failures = 0

    def heard(self) -> None:
        self._since, self._failures = None, 0

    async def wait(self, reason: str, asked: float = 0.0) -> None:
        """Until the next try. Raises EvaluationFailed when there is none."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if (left := self._since + self._patience - now) <= 0:
            raise EvaluationFailed(f"{reason} So it was for {self._patience:g} s.")
        self._on_wait(reason, left)
        pause = asked or min(_FIRST_PAUSE * 2 ** min(self._failures, 8), _LONGEST_PAUSE)
        self._failures += 1
        await asyncio.sleep(min(pause, left))


async def evaluate_async(
    items: Iterable[Mapping[str, str]],
    url: str,
    *,
    token: str | None = None,
    key: str | None = None,
    patience: float = PATIENCE,
    on_progress: Callable[[Mapping[str, Any]], None] = lambda _: None,
    on_wait: Callable[[str, float], None] = lambda _, __: None,
) -> AsyncIterator[Row]:
    """Outcomes as they are made; under a ``key`` used before, those of the job that was made then.

    ``patience``: seconds that the service may be away or full at a stretch. ``on_wait`` hears why there is a
    wait, and the seconds of patience that are left. Raises EvaluationFailed.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    timeout = httpx.Timeout(30, read=40)  # the stream's heartbeat comes every 10 s
    away = _Away(patience, on_wait)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False) as http:
        # The key makes a second try of a post whose answer was lost the same job.
        posted = {"json": {"items": list(items)}, "headers": {"idempotency-key": key or str(uuid.uuid4())}}
        stream_url = await _post(http, posted, away)
        last = 0
        while True:
            try:
                async for number, name, data in _follow(http, stream_url, last, away):
                    last = number or last
                    if name == "error":
                        raise EvaluationFailed(data["error"])
                    if name == "complete":
                        return
                    if name == "progress":
                        on_progress(data["data"])
                    elif name == "batch_complete":
                        on_progress(data["data"]["progress"])
                        for row in [*data["data"]["results"], *data["data"].get("errors", [])]:
                            yield row
                reason, asked = "The stream ended.", 0.0
            except httpx.TransportError as error:
                reason, asked = _lost(error), 0.0
            except _NotNow as not_now:
                reason, asked = not_now.args
            await away.wait(reason, asked)


def evaluate(
    items: Iterable[Mapping[str, str]],
    url: str,
    *,
    token: str | None = None,
    key: str | None = None,
    patience: float = PATIENCE,
    on_progress: Callable[[Mapping[str, Any]], None] = lambda _: None,
    on_wait: Callable[[str, float], None] = lambda _, __: None,
) -> Iterator[Row]:
    """As evaluate_async, for programs without a loop. Who breaks off leaves nothing behind but the job."""
    rows: queue.SimpleQueue[Row | BaseException | None] = queue.SimpleQueue()
    stop: Future[Callable[[], object]] = Future()

    async def run() -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        stop.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        found = evaluate_async(
            items, url, token=token, key=key, patience=patience, on_progress=on_progress, on_wait=on_wait
        )
        async for row in found:
            rows.put(row)

    def work() -> None:
        try:
            asyncio.run(run())
            rows.put(None)
        except BaseException as error:
            rows.put(error)

    thread = threading.Thread(target=work, name="evaluate", daemon=True)
    thread.start()
    try:
        while (row := _next(rows)) is not None:
            if isinstance(row, BaseException):
                raise row
            yield row
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended by itself, and its loop is closed
            stop.result()()
        thread.join()


def _next(rows: queue.SimpleQueue[T]) -> T:
    """Looks up now and then: Ctrl-C that comes just before Python begins to wait does not end the wait."""
    while True:
        with contextlib.suppress(queue.Empty):
            return rows.get(timeout=_SIGNAL_SECONDS)


class _NotNow(Exception):
    """Why, and the seconds after which to come back; 0: it did not say."""


async def _post(http: httpx.AsyncClient, posted: dict[str, Any], away: _Away) -> str:
    """The job's stream, after as many tries as it takes while the service is away or full."""
    while True:
        try:
            answer = await http.post("/evaluate", **posted)
            _check(answer)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise EvaluationFailed(f"It cannot be asked for: {error}") from error
        except httpx.TransportError as error:
            await away.wait(_lost(error))
        except _NotNow as not_now:
            await away.wait(*not_now.args)
        else:
            away.heard()
            try:
                return str(answer.json()["stream_url"])
            except (ValueError, KeyError, TypeError):
                raise EvaluationFailed("What answered is not text_evaluator.") from None


async def _follow(
    http: httpx.AsyncClient, path: str, last: int, away: _Away
) -> AsyncIterator[tuple[int, str, Any]]:
    """Id, name and data of the events behind the ``last``."""
    async with http.stream("GET", path, headers={"last-event-id": str(last)}) as answer:
        if not answer.is_success:
            await answer.aread()
        _check(answer)
        async for number, name, data in events(answer.aiter_bytes()):
            away.heard()
            if data is not None:
                try:
                    yield number, name, json.loads(data)
                except ValueError:
                    raise EvaluationFailed("An event of the stream cannot be read.") from None


def _check(answer: httpx.Response) -> None:
    """Raises EvaluationFailed for a refusal, _NotNow for one that is worth another try."""
    if answer.status_code in _COME_BACK:
        said = answer.headers.get("retry-after", "")
        raise _NotNow(_sentence(answer), float(said) if said.isdecimal() else 0.0)
    if not answer.is_success:
        raise EvaluationFailed(_sentence(answer))


def _lost(error: httpx.TransportError) -> str:
    return f"The service was not reached ({type(error).__name__})."


def _sentence(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"The service answered {answer.status_code}."
