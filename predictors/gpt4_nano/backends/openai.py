"""Any OpenAI-compatible chat endpoint: the rows of a batch at the same time, over one pool of connections."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from predictors.gpt4_nano.backends.rows import (
    Audience,
    BackendFailed,
    Cancelled,
    Completion,
    InvalidRow,
    Outcome,
    Row,
)
from predictors.runtime.events import events

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
CANCEL_POLL_SECONDS = 0.05

_NO_ANSWER = "The model's provider did not answer."
_BAD_ANSWER = "The model's provider gave an answer that cannot be read."
_TOO_MUCH = "The model's provider is overloaded or the quota is used up."
_REFUSED = "The model's provider refused the request."


class Retry(Exception):
    """It may go better later: in ``after`` seconds, if the provider said so."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.message, self.after = message, after


class OpenAI:
    remote = True

    def __init__(
        self, *, base_url: str, key: str, model: str, timeout: float, attempts: int, moderation: bool
    ) -> None:
        self._model, self._attempts, self._moderation = model, attempts, moderation
        self._base = base_url.rstrip("/")
        # A loop of its own, so that connections outlive a batch.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
        self._thread.start()
        self._client = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=32),
        )

    def generate(self, rows: Sequence[Row], audience: Audience) -> Sequence[Outcome]:
        return asyncio.run_coroutine_threadsafe(self._generate(rows, audience), self._loop).result()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _generate(self, rows: Sequence[Row], audience: Audience) -> list[Outcome]:
        return list(await asyncio.gather(*(self._one(i, row, audience) for i, row in enumerate(rows))))

    async def _one(self, index: int, row: Row, audience: Audience) -> Outcome:
        answer = asyncio.create_task(self._tried(index, row, audience))
        while not answer.done():
            if audience.gone(index):
                answer.cancel()
                return Cancelled()
            await asyncio.wait({answer}, timeout=CANCEL_POLL_SECONDS)
        try:
            return answer.result()
        except Exception:
            # An answer of a shape that nobody thought of; the other rows are not to blame.
            logger.exception("The provider's answer was not understood.")
            return BackendFailed(_BAD_ANSWER)

    async def _tried(self, index: int, row: Row, audience: Audience) -> Outcome:
        pause = FIRST_PAUSE
        for attempt in range(1, self._attempts + 1):
            told: list[str] = []
            try:
                if self._moderation and await self._flagged(row.prompt):
                    return Completion("", 0, 0, "content_filter", self._model)
                return await self._chat(index, row, audience, told)
            except InvalidRow as error:
                return error
            except BackendFailed as error:
                return error
            except Retry as error:
                # What a caller has heard cannot be taken back.
                if attempt == self._attempts or told or (error.after or 0) > LONGEST_PAUSE:
                    return BackendFailed(error.message, retriable=True)
                wait = error.after if error.after is not None else pause * random.uniform(0.5, 1.0)
                await asyncio.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE)
        raise AssertionError("the last attempt returns")

    async def _chat(self, index: int, row: Row, audience: Audience, told: list[str]) -> Completion:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": row.prompt}],
            "max_tokens": row.max_tokens,
            "temperature": row.temperature,
            "top_p": row.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if row.stop:
            body["stop"] = list(row.stop)
        if row.seed is not None:
            body["seed"] = row.seed
        model, reason, usage, refused = self._model, "", None, False
        async for event in self._events("/chat/completions", body):
            model = event.get("model") or model
            usage = event.get("usage") or usage
            for choice in event.get("choices") or ():
                delta = choice.get("delta") or {}
                refused = refused or bool(delta.get("refusal"))
                if text := delta.get("content") or delta.get("refusal"):
                    told.append(text)
                    audience.piece(index, text)
                reason = choice.get("finish_reason") or reason
        if not reason:
            raise Retry(_NO_ANSWER)  # the stream ended before the answer did
        text = "".join(told)
        return Completion(
            text,
            int((usage or {}).get("completion_tokens") or len(text.split())),
            int((usage or {}).get("prompt_tokens") or 0),
            "content_filter" if refused else reason,
            model,
        )

    async def _events(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a streamed answer, up to [DONE]."""
        try:
            async with self._client.stream("POST", self._base + path, json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    _raise(response)
                async for event in events(response.aiter_bytes()):
                    if event.data is None or event.data.strip() == "[DONE]":
                        continue  # to the end, or the connection could not be used again
                    chunk = _json(event.data)
                    if chunk.get("error"):
                        raise Retry(_NO_ANSWER)
                    yield chunk
        except httpx.HTTPError:
            raise Retry(_NO_ANSWER) from None

    async def _flagged(self, prompt: str) -> bool:
        try:
            response = await self._client.post(f"{self._base}/moderations", json={"input": prompt})
        except httpx.HTTPError:
            raise Retry(_NO_ANSWER) from None
        if response.status_code != 200:
            _raise(response)
        results = _json(response.text).get("results") or ()
        return any(result.get("flagged") for result in results)


def _raise(response: httpx.Response) -> None:
    """What a status that is not 200 means for the row."""
    status = response.status_code
    try:
        error = response.json()["error"]
        code = str(error.get("code") or error.get("type") or "")
        field = str(error.get("param") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        code = field = ""
    if status == 429 and code == "insufficient_quota":
        raise BackendFailed(_TOO_MUCH)
    if status in {408, 409, 429} or status >= 500:
        message = _TOO_MUCH if status == 429 else _NO_ANSWER
        raise Retry(message, _retry_after(response))
    if code in {"content_policy_violation", "content_filter"}:
        raise InvalidRow("prompt", "must keep to the provider's content policy")
    if code == "context_length_exceeded":
        raise InvalidRow("prompt", "must be shorter: with max_tokens it exceeds the model's context")
    if status == 400 and field in {"max_tokens", "temperature", "top_p", "stop", "seed"}:
        raise InvalidRow(field, "must be a value that the provider takes")
    raise BackendFailed(_REFUSED)


def _retry_after(response: httpx.Response) -> float | None:
    milliseconds, seconds = response.headers.get("retry-after-ms"), response.headers.get("retry-after")
    try:
        return float(milliseconds) / 1000 if milliseconds else float(seconds) if seconds else None
    except ValueError:
        return None


def _json(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        raise Retry(_BAD_ANSWER) from None
    if not isinstance(document, dict):
        raise Retry(_BAD_ANSWER)
    return document
