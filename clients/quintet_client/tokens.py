"""Tokens: from the caller's own function or a token endpoint, kept while they are good, renewed ahead."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote_plus

import httpx

from .errors import TokenFailed

#: Seconds before its end at which a token is renewed, or at a fifth of its life if that is less.
RENEW_BEFORE = 60.0
#: Seconds until a renewal that failed is tried again, while the old token is still good.
TRY_AGAIN = 5.0


@dataclass(frozen=True)
class Token:
    value: str
    expires_at: float | None = None
    """Seconds since 1970. None: read from the token itself if it can be, otherwise good for this one call."""

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at})"


@dataclass(frozen=True)
class ClientCredentials:
    """OAuth 2.0 for machines (RFC 6749 4.4): `url` is the issuer's token endpoint."""

    url: str
    client_id: str
    client_secret: str
    scope: str = ""
    audience: str = ""
    """Some issuers ask for it beside the scope."""

    def __repr__(self) -> str:
        return f"ClientCredentials(url={self.url!r}, client_id={self.client_id!r})"

    def request(self) -> httpx.Request:
        form = {"grant_type": "client_credentials", "scope": self.scope, "audience": self.audience}
        request = httpx.Request("POST", self.url, data={key: value for key, value in form.items() if value})
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        request.headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return request


TokenSource = str | ClientCredentials | Callable[[], "str | Token"]
"""An empty text is for a server that needs no token."""
AsyncTokenSource = TokenSource | Callable[[], "Awaitable[str | Token]"]


def token_of(response: httpx.Response) -> Token:
    """From a token endpoint's answer."""
    if not response.is_success:
        raise TokenFailed(f"the token endpoint answered {response.status_code}")
    try:
        body = response.json()
        value, lifetime = str(body["access_token"]), body.get("expires_in")
        return Token(value, None if lifetime is None else time.time() + float(lifetime))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TokenFailed("the token endpoint's answer has no access_token") from None


def _whole(found: str | Token) -> Token:
    token = Token(found) if isinstance(found, str) else found
    value = _plain(token.value)
    return Token(value, _own_expiry(value) if token.expires_at is None else token.expires_at)


def _plain(value: str) -> str:
    """Without the end of the line that a file has. Not quoted when it is none, for errors are logged."""
    value = value.strip()
    if not value or any(not "!" <= character <= "~" for character in value):
        raise TokenFailed("a token is printable ASCII without blanks")
    return value


def _own_expiry(value: str) -> float | None:
    """What a JWT says of its end; whether that is true is the gateway's to judge."""
    try:
        part = value.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


class _Kept:
    """The token that is in use, and when the next one is due."""

    def __init__(self) -> None:
        self._token: Token | None = None
        self._renew_at = 0.0

    def fresh(self) -> Token | None:
        return self._token if self._token and time.time() < self._renew_at else None

    def still_good(self) -> Token | None:
        """One that should be renewed and can be used if that fails."""
        token = self._token
        return token if token and (token.expires_at or 0.0) > time.time() + 1 else None

    def keep(self, found: str | Token) -> Token:
        token = _whole(found)
        now = time.time()
        life = (token.expires_at or now) - now
        self._token, self._renew_at = token, now + life - min(RENEW_BEFORE, life / 5)
        return token

    def put_off(self, token: Token) -> None:
        """It could not be renewed now, and is used on."""
        self._renew_at = min(time.time() + TRY_AGAIN, token.expires_at or 0.0)

    def forget(self, value: str) -> None:
        """That one, which was refused; by now another may be in use."""
        if self._token and self._token.value == value:
            self._token = None


class Tokens:
    """However many threads ask, one of them asks the source; the rest wait only without a token."""

    def __init__(self, source: TokenSource, http: httpx.Client) -> None:
        self._source, self._http = source, http
        self._kept, self._asking = _Kept(), threading.Lock()
        self.forget = self._kept.forget

    def get(self) -> str:
        if isinstance(self._source, str):
            return self._source and _plain(self._source)
        if token := self._kept.fresh():
            return token.value
        good = self._kept.still_good()
        if not self._asking.acquire(blocking=good is None):
            assert good
            return good.value
        try:
            return (self._kept.fresh() or self._ask()).value
        finally:
            self._asking.release()

    def _ask(self) -> Token:
        try:
            if isinstance(self._source, ClientCredentials):
                return self._kept.keep(token_of(self._http.send(self._source.request())))
            assert callable(self._source)
            return self._kept.keep(self._source())
        except Exception as error:
            if token := self._kept.still_good():
                self._kept.put_off(token)
                return token
            raise _failed(error) from error


class AsyncTokens:
    """However many tasks ask, one of them asks the source; the rest wait only without a token."""

    def __init__(self, source: AsyncTokenSource, http: httpx.AsyncClient) -> None:
        self._source, self._http = source, http
        self._kept, self._asking = _Kept(), asyncio.Lock()
        self.forget = self._kept.forget

    async def get(self) -> str:
        if isinstance(self._source, str):
            return self._source and _plain(self._source)
        if token := self._kept.fresh():
            return token.value
        if self._asking.locked() and (token := self._kept.still_good()):
            return token.value
        async with self._asking:
            return (self._kept.fresh() or await self._ask()).value

    async def _ask(self) -> Token:
        try:
            if isinstance(self._source, ClientCredentials):
                return self._kept.keep(token_of(await self._http.send(self._source.request())))
            assert callable(self._source)
            found = self._source()
            return self._kept.keep(await found if inspect.isawaitable(found) else found)
        except Exception as error:
            if token := self._kept.still_good():
                self._kept.put_off(token)
                return token
            raise _failed(error) from error


def _failed(error: Exception) -> TokenFailed:
    return (
        error if isinstance(error, TokenFailed) else TokenFailed(f"no token: {type(error).__name__}: {error}")
    )
