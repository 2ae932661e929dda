"""gpt4_nano in the words of its original client, over Triton itself, its transformer or the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import httpx

from .aio import AsyncClient
from .calls import Call, Tensor, infer
from .errors import BadAnswer
from .retrying import Retries
from .sync import Client
from .tokens import AsyncTokenSource, TokenSource

MODEL = "gpt4_nano"


class Generated(TypedDict):
    response: str
    tokens_used: int


def generate_text(
    prompt: str,
    max_tokens: int = 150,
    temperature: float = 0.7,
    *,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    seed: int | None = None,
    request_id: str | None = None,
) -> Call[Generated]:
    """One prompt as [1,1] tensors, which is what Triton's batching wants."""
    tensors = [
        Tensor("prompt", "BYTES", [1, 1], [prompt]),
        Tensor("max_tokens", "INT32", [1, 1], [max_tokens]),
        Tensor("temperature", "FP32", [1, 1], [temperature]),
    ]
    if top_p is not None:
        tensors.append(Tensor("top_p", "FP32", [1, 1], [top_p]))
    if stop:
        tensors.append(Tensor("stop", "BYTES", [1, len(stop)], list(stop)))
    if seed is not None:
        tensors.append(Tensor("seed", "INT64", [1, 1], [seed]))
    if request_id is not None:
        tensors.append(Tensor("request_id", "BYTES", [1, 1], [request_id]))
    asked = infer(MODEL, tensors, ["response", "tokens_used"])

    def parse(document: Any) -> Generated:
        found = asked.parse(document)
        try:
            (response,), (tokens_used,) = found["response"].data, found["tokens_used"].data
        except (KeyError, ValueError):
            raise BadAnswer("the answer is not one response") from None
        return Generated(response=str(response), tokens_used=int(tokens_used))

    return Call(asked.method, asked.path, parse, asked.body)


class OpenAITritonService:
    """Safe to share between threads. ``triton_url`` with or without a scheme; ``token`` for the gateway."""

    def __init__(
        self,
        triton_url: str = "localhost:8000",
        token: TokenSource = "",
        *,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._client = Client(_address(triton_url), token, retries=retries, http=http)

    def generate_text(
        self, prompt: str, max_tokens: int = 150, temperature: float = 0.7, **more: Any
    ) -> Generated:
        """``more``: top_p, stop, seed, request_id. Raises a `QuintetError`."""
        return self._client.send(generate_text(prompt, max_tokens, temperature, **more))

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> OpenAITritonService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncOpenAITritonService:
    """The same for asyncio."""

    def __init__(
        self,
        triton_url: str = "localhost:8000",
        token: AsyncTokenSource = "",
        *,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._client = AsyncClient(_address(triton_url), token, retries=retries, http=http)

    async def generate_text(
        self, prompt: str, max_tokens: int = 150, temperature: float = 0.7, **more: Any
    ) -> Generated:
        """``more``: top_p, stop, seed, request_id. Raises a `QuintetError`."""
        return await self._client.send(generate_text(prompt, max_tokens, temperature, **more))

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> AsyncOpenAITritonService:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _address(url: str) -> str:
    return url if "://" in url else f"http://{url}"
