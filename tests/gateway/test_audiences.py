"""A model may ask for an audience of its own, whoever issued the token."""

from __future__ import annotations

import pytest

from tests.gateway.calls import FORBIDDEN, NOT_FOUND, PASSED, TRANSPORTS, Transport, bearer, http
from tests.gateway.conftest import World

EVERY = pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)


@EVERY
@pytest.mark.parametrize(("audience", "own"), [("special", True), ("quintet", False), ("other", False)])
def test_a_model_with_an_audience_of_its_own(
    world: World, transport: Transport, audience: str, own: bool
) -> None:
    """And the others stay with their issuer's: a token for one model opens no other."""
    headers = bearer(world.token("infer:*", aud=audience))
    transport.call(world.port, "own", headers).check(PASSED if own else FORBIDDEN)
    transport.call(world.port, "m1", headers).check(PASSED if audience == "quintet" else FORBIDDEN)
    assert len(world.own.seen) == own


@EVERY
def test_every_issuer_is_held_to_it(world: World, transport: Transport) -> None:
    company = world.signers.es256
    transport.call(world.port, "own", bearer(company.token("infer:own"))).check(FORBIDDEN)
    transport.call(world.port, "own", bearer(company.token("infer:own", aud="special"))).check(PASSED)


@EVERY
def test_a_token_for_several_audiences_opens_each(world: World, transport: Transport) -> None:
    headers = bearer(world.token("infer:*", aud=["special", "quintet"]))
    for name in ("own", "m1"):
        transport.call(world.port, name, headers).check(PASSED)


def test_whoever_may_call_something_is_told_what_is_not_there(world: World) -> None:
    """404 rather than 403: the gateway's own answers are for a token of any audience it knows."""
    http(world.port, "GET", "/nowhere", bearer(world.token(aud="special"))).check(NOT_FOUND)
    http(world.port, "GET", "/nowhere", bearer(world.token(aud="other"))).check(FORBIDDEN)
