"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from .calls import Call
from .errors import ConnectionFailed, Unauthenticated
from .events import Event, Parser
from .requests import LIMITS, TIMEOUT, arguments, stream_arguments, value_of
from .retrying import Attempts, Retries
from .tokens import Tokens, TokenSource

T = TypeVar("T")


class Client:
    """Safe to share between threads; keeps its connections. `http` is yours to close when you give one."""

    def __init__(
        self,
        address: str,
        token: TokenSource,
        *,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._own = http is None
        self._http = http or httpx.Client(timeout=TIMEOUT, limits=LIMITS)
        self._address = address.rstrip("/")
        self._tokens = Tokens(token, self._http)
        self._retries = retries or Retries()

    def send(self, call: Call[T]) -> T:
        """The call's value. Raises a `QuintetError`."""
        attempts = Attempts(call, self._retries)
        while True:
            token = self._tokens.get()
            try:
                response = self._http.send(self._request(arguments(call, token)))
            except httpx.TransportError as error:
                pause = attempts.failed(error)
            else:
                with self._forgetting(token):
                    pause = attempts.answered(response)
                if pause is None:
                    return value_of(call, response)
            time.sleep(pause)

    def stream(self, call: Call[Any]) -> Iterator[Event]:
        """Events as they come. A connection that breaks is taken up again behind the last event's id."""
        parser, attempts = Parser(), Attempts(call, self._retries)
        while True:
            token = self._tokens.get()
            request = self._request(stream_arguments(call, token, parser.last_id))
            try:
                response = self._http.send(request, stream=True)
                try:
                    if not response.is_success:
                        response.read()
                    with self._forgetting(token):
                        pause = attempts.answered(response)
                    if pause is None:
                        for chunk in response.iter_bytes():
                            for event in parser.events(chunk):
                                attempts = Attempts(call, self._retries)
                                yield event
                        return
                finally:
                    response.close()
            except httpx.TransportError as error:
                if parser.cannot_go_on:
                    raise ConnectionFailed(f"the stream broke off ({type(error).__name__})") from error
                pause = attempts.failed(error)
                parser = Parser(parser.last_id)
            time.sleep(pause)

    @contextmanager
    def _forgetting(self, token: str) -> Iterator[None]:
        """A token that was refused is not used again."""
        try:
            yield
        except Unauthenticated:
            self._tokens.forget(token)
            raise

    def _request(self, made: dict[str, Any]) -> httpx.Request:
        return self._http.build_request(**made | {"url": self._address + made["url"]})

    def close(self) -> None:
        if self._own:
            self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
