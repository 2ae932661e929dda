"""A small client: posts texts, follows their job over lost connections, gives every outcome once.

``python -m predictors.text_evaluator.client FILE.jsonl [--out OUT.jsonl] [--url URL]``, with a token in
``QUINTET_TOKEN`` where a gateway asks for one. In a program::

    for row in evaluate(texts, "http://localhost:8080", token=token): ...
    async for row in evaluate_async(texts, ...): ...
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import queue
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
Row = dict[str, Any]
"""``index``, ``id_alumno``, and ``nota`` with ``feedback`` or ``code`` with ``error``."""

TRIES = 8
SIGNAL_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0


class EvaluationFailed(Exception):
    """The service refused, or was not reached in all tries; its own sentence where it said one."""


async def evaluate_async(
    items: Iterable[Mapping[str, str]],
    url: str,
    *,
    token: str | None = None,
    key: str | None = None,
    on_progress: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> AsyncIterator[Row]:
    """Outcomes as they are made; under a ``key`` used before, those of the job that was made then.

    Raises EvaluationFailed.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    timeout = httpx.Timeout(30, read=40)  # the stream's heartbeat comes every 10 s
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False) as http:
        # The key makes a second try of a post whose answer was lost the same job.
        posted = {"json": {"items": list(items)}, "headers": {"idempotency-key": key or str(uuid.uuid4())}}
        accepted = (await _insist(lambda: http.post("/evaluate", **posted))).json()
        last, failures = 0, 0
        while True:
            try:
                async for number, name, data in _events(http, accepted["stream_url"], last):
                    failures, last = 0, number or last
                    if name == "batch_complete":
                        on_progress(data["data"]["progress"])
                        for row in [*data["data"]["results"], *data["data"].get("errors", [])]:
                            yield row
                    elif name == "complete":
                        return
                    elif name == "error":
                        raise EvaluationFailed(data["error"])
            except httpx.TransportError as error:
                failures += 1
                if failures == TRIES:
                    raise EvaluationFailed(f"The connection was lost: {type(error).__name__}.") from error
            await asyncio.sleep(min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE))


def evaluate(
    items: Iterable[Mapping[str, str]],
    url: str,
    *,
    token: str | None = None,
    key: str | None = None,
    on_progress: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Iterator[Row]:
    """As evaluate_async, for programs without a loop. Who breaks off leaves nothing behind but the job."""
    rows: queue.SimpleQueue[Row | BaseException | None] = queue.SimpleQueue()
    stop: Future[Callable[[], object]] = Future()

    async def run() -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        stop.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        async for row in evaluate_async(items, url, token=token, key=key, on_progress=on_progress):
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
            return rows.get(timeout=SIGNAL_SECONDS)


async def _insist(call: Callable[[], Any]) -> httpx.Response:
    """The answer, after as many tries as it takes while the service is away or full."""
    for attempt in range(TRIES):
        pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
        try:
            answer: httpx.Response = await call()
        except httpx.TransportError as error:
            if attempt == TRIES - 1:
                raise EvaluationFailed(f"The service was not reached: {type(error).__name__}.") from error
        else:
            if answer.is_success:
                return answer
            if answer.status_code not in (429, 502, 503, 504) or attempt == TRIES - 1:
                raise EvaluationFailed(_sentence(answer))
            pause = float(answer.headers.get("retry-after", pause))
        await asyncio.sleep(pause)
    raise AssertionError


async def _events(http: httpx.AsyncClient, path: str, last: int) -> AsyncIterator[tuple[int, str, Any]]:
    async with http.stream("GET", path, headers={"last-event-id": str(last)}) as answer:
        if answer.status_code in (429, 502, 503, 504):
            raise httpx.RemoteProtocolError("not ready")
        if not answer.is_success:
            await answer.aread()
            raise EvaluationFailed(_sentence(answer))
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            else:
                if "data" in fields:
                    yield int(fields.get("id", 0)), fields.get("event", ""), json.loads(fields["data"])
                fields = {}


def _sentence(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"The service answered {answer.status_code}."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m predictors.text_evaluator.client", description=__doc__)
    parser.add_argument("file", type=Path, help="one text a line: id_alumno, curso, consigna, respuesta")
    parser.add_argument("--out", type=Path, help="where to write the outcomes; default: FILE.marks.jsonl")
    parser.add_argument("--url", default="http://localhost:8080", help="default: %(default)s")
    parser.add_argument("--anew", action="store_true", help="a new job, though the file was posted before")
    options = parser.parse_args()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    items = [json.loads(line) for line in options.file.read_text("utf-8").splitlines() if line.strip()]
    out = options.out or options.file.with_suffix(".marks.jsonl")
    rate = TextColumn("{task.fields[rate]:.1f}/s")
    columns = (TextColumn("marking"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    # The same file is the same job: who was cut off begins where it was, by the same command.
    key = None if options.anew else hashlib.sha256(json.dumps(items).encode()).hexdigest()
    rows: dict[int, Row] = {}
    try:
        with Progress(*columns) as bar, out.open("w", encoding="utf-8") as file:
            task = bar.add_task("", total=len(items), rate=0.0)

            def show(progress: Mapping[str, Any]) -> None:
                each = progress["avg_time_per_item"]
                bar.update(task, completed=progress["completed"], rate=1 / each if each else 0.0)

            token = os.environ.get("QUINTET_TOKEN")
            for row in evaluate(items, options.url, token=token, key=key, on_progress=show):
                rows[row["index"]] = row
                file.write(_line(row))
                file.flush()
    except (EvaluationFailed, KeyboardInterrupt) as error:
        reason = f"error: {error}\n" if isinstance(error, EvaluationFailed) else ""
        sys.stderr.write(f"{reason}{len(rows)} of {len(items)} texts written to {out}\n")
        return 1 if reason else 130
    out.write_text("".join(_line(rows[index]) for index in sorted(rows)), "utf-8")
    failed = sum("nota" not in row for row in rows.values())
    sys.stderr.write(f"{len(rows)} texts, {failed} without a mark, written to {out}\n")
    return 0


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
