"""Pages of the named origins may call, no others, and the token is still needed."""

from __future__ import annotations

import pytest

from tests.gateway.calls import PASSED, UNAUTHENTICATED, Answer, bearer, http
from tests.gateway.conftest import PAGE, World

PATH = "/v2/models/m1/infer"


def preflight(world: World, origin: str, path: str = PATH) -> Answer:
    asks = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ]
    return http(world.port, "OPTIONS", path, asks)


def test_a_preflight_is_answered_without_a_token_and_never_reaches_a_model(world: World) -> None:
    answer = preflight(world, PAGE)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in answer.headers
    assert not world.m1.seen


@pytest.mark.parametrize(
    "origin", ["https://evil.test", f"{PAGE}.evil.test", "http://app.test", "null", "*", PAGE.upper()]
)
def test_no_other_origin_is_let_in(world: World, origin: str) -> None:
    answer = preflight(world, origin)
    answer.check(UNAUTHENTICATED)
    called = http(world.port, "POST", PATH, [("origin", origin), *bearer(world.token())], b"{}")
    for one in (answer, called):
        assert "access-control-allow-origin" not in one.headers


def test_a_page_still_needs_a_token_and_may_read_why_it_was_refused(world: World) -> None:
    refused = http(world.port, "POST", PATH, [("origin", PAGE)], b"{}")
    refused.check(UNAUTHENTICATED)
    assert refused.headers["access-control-allow-origin"] == PAGE
    answer = http(world.port, "POST", PATH, [("origin", PAGE), *bearer(world.token())], b"{}")
    answer.check(PASSED)
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


def test_a_preflight_opens_no_path_that_is_not_there(world: World) -> None:
    """Whatever a browser is told, the call itself is judged like any other."""
    preflight(world, PAGE, "/metrics")
    http(world.port, "GET", "/metrics", [("origin", PAGE)]).check(UNAUTHENTICATED)
