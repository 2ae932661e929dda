"""Tokens are asked for once, kept while they are good, and renewed before they end."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from quintet_client import ClientCredentials, Token
from quintet_client.errors import TokenFailed
from quintet_client.tokens import AsyncTokens, Tokens, TokenSource

NOBODY = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(500)))


class Source:
    """Gives tokens that live so long, or none."""

    def __init__(self, *lives: float | None) -> None:
        self.lives, self.asked = list(lives), 0

    def __call__(self) -> Token:
        self.asked += 1
        life = self.lives.pop(0)
        if life is None:
            raise OSError("the vault is shut")
        return Token(f"token-{self.asked}", time.time() + life)


def tokens(source: TokenSource) -> Tokens:
    return Tokens(source, NOBODY)


def test_a_good_token_is_kept() -> None:
    source = Source(600)
    kept = tokens(source)
    assert [kept.get() for _ in range(5)] == ["token-1"] * 5


def test_one_that_is_about_to_end_is_renewed() -> None:
    source = Source(600, 600)
    kept = tokens(source)
    kept.get()
    kept._kept._renew_at = time.time() - 1  # the time that is left falls below a minute
    assert kept.get() == "token-2"


def test_a_renewal_that_fails_leaves_the_old_one_while_it_is_good() -> None:
    kept = tokens(Source(600, None, None))
    kept.get()
    kept._kept._renew_at = 0
    assert kept.get() == "token-1"
    kept.forget("token-1")
    with pytest.raises(TokenFailed, match="the vault is shut"):
        kept.get()


def test_an_endpoint_that_is_down_is_not_asked_at_every_call() -> None:
    source = Source(600, None, 600)
    kept = tokens(source)
    kept.get()
    kept._kept._renew_at = 0
    assert [kept.get() for _ in range(5)] == ["token-1"] * 5
    assert source.asked == 2
    kept._kept._renew_at = 0  # some seconds later
    assert kept.get() == "token-3"


def test_nobody_waits_for_a_renewal_whose_token_is_still_good() -> None:
    """An endpoint that takes its time would hold up every call for as long."""
    asked, answer = threading.Event(), threading.Event()
    given = iter(["token-1", "token-2"])

    def source() -> Token:
        if (value := next(given)) == "token-2":
            asked.set()
            assert answer.wait(10)
        return Token(value, time.time() + 600)

    kept = tokens(source)
    kept.get()
    kept._kept._renew_at = 0
    with ThreadPoolExecutor(1) as pool:
        renewed = pool.submit(kept.get)
        assert asked.wait(10)
        assert kept.get() == "token-1"
        answer.set()
        assert renewed.result() == "token-2"


async def test_no_task_waits_for_a_renewal_whose_token_is_still_good() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    given = iter(["token-1", "token-2"])

    async def source() -> Token:
        if (value := next(given)) == "token-2":
            asked.set()
            await answer.wait()
        return Token(value, time.time() + 600)

    kept = AsyncTokens(source, httpx.AsyncClient())
    await kept.get()
    kept._kept._renew_at = 0
    renewed = asyncio.create_task(kept.get())
    await asked.wait()
    assert await asyncio.wait_for(kept.get(), 5) == "token-1"
    answer.set()
    assert await renewed == "token-2"


def test_a_token_from_a_file_may_end_its_line() -> None:
    assert tokens("abc\n").get() == "abc"
    assert tokens(lambda: "abc\r\n").get() == "abc"


@pytest.mark.parametrize("bad", ["secret\ntoken", "secret token", "secré", "", " \n"])
def test_what_no_header_may_hold_is_no_token_and_is_not_quoted(bad: str) -> None:
    """httpx would say so with the token in its words, and those end up in logs."""
    for source in (lambda: bad, bad) if bad else (lambda: bad,):
        with pytest.raises(TokenFailed, match="printable ASCII") as raised:
            tokens(source).get()
        assert "secr" not in str(raised.value)


def test_a_server_without_a_gateway_in_front_needs_none() -> None:
    assert tokens("").get() == ""


def test_one_that_was_refused_is_forgotten() -> None:
    kept = tokens(Source(600, 600))
    kept.get()
    kept.forget("token-0")  # of a call that was sent before the last renewal
    assert kept.get() == "token-1"
    kept.forget("token-1")
    assert kept.get() == "token-2"


def test_a_text_says_itself_when_it_ends() -> None:
    asked = []

    def source() -> str:
        asked.append(1)
        claims = json.dumps({"exp": time.time() + 600}).encode()
        return f"e30.{urlsafe_b64encode(claims).decode().rstrip('=')}.x"

    kept = tokens(source)
    assert kept.get() == kept.get()
    assert len(asked) == 1


def test_one_that_says_nothing_is_for_one_call() -> None:
    made = iter(["opaque-1", "opaque-2"])
    kept = tokens(lambda: next(made))
    assert [kept.get(), kept.get()] == ["opaque-1", "opaque-2"]


def test_threads_ask_together_and_the_source_is_asked_once() -> None:
    source = Source(600)
    kept = tokens(source)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: kept.get(), range(50))) == {"token-1"}
    assert source.asked == 1


async def test_tasks_ask_together_and_the_source_is_asked_once() -> None:
    asked = 0

    async def source() -> Token:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return Token("t", time.time() + 600)

    kept = AsyncTokens(source, httpx.AsyncClient())
    assert set(await asyncio.gather(*(kept.get() for _ in range(50)))) == {"t"}
    assert asked == 1


# --- the token endpoint ------------------------------------------------------------------------------

MACHINE = ClientCredentials("https://idp.test/token", "me:1", "s3cret", "infer:*", "quintet")


def test_client_credentials() -> None:
    seen: list[httpx.Request] = []

    def endpoint(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"access_token": "t", "expires_in": 300})

    kept = Tokens(MACHINE, httpx.Client(transport=httpx.MockTransport(endpoint)))
    assert [kept.get(), kept.get()] == ["t", "t"]
    (request,) = seen
    assert request.content == b"grant_type=client_credentials&scope=infer%3A%2A&audience=quintet"
    assert request.headers["authorization"] == "Basic bWUlM0ExOnMzY3JldA=="


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401),
        httpx.Response(200, text="no"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
    ],
)
def test_an_endpoint_that_gives_none(answer: httpx.Response) -> None:
    kept = Tokens(MACHINE, httpx.Client(transport=httpx.MockTransport(lambda _: answer)))
    with pytest.raises(TokenFailed) as raised:
        kept.get()
    assert "s3cret" not in str(raised.value)


def test_nothing_secret_shows() -> None:
    assert "s3cret" not in repr(MACHINE)
    assert "abc" not in repr(Token("abc"))
