"""The token matrix: every row over every transport, and nothing that is refused reaches a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.gateway import forge
from tests.gateway.calls import (
    FORBIDDEN,
    HEADERS_TOO_LARGE,
    PASSED,
    TRANSPORTS,
    UNAUTHENTICATED,
    V2,
    Header,
    Transport,
    Verdict,
    bearer,
)
from tests.gateway.conftest import World
from tests.gateway.forge import b64


@dataclass(frozen=True)
class Case:
    name: str
    headers: Callable[[World], list[Header]]
    expected: Verdict
    says: str = ""


def sent(name: str, token: Callable[[World], str], expected: Verdict, says: str = "") -> Case:
    return Case(name, lambda world: bearer(token(world)), expected, says)


def now() -> int:
    return int(time.time())


def signed_with_public_key(world: World) -> str:
    """The classic confusion: HS256 over the RSA public key, which everybody has."""
    signer = world.signers.rs256
    head = b64({"alg": "HS256", "kid": signer.kid})
    signed = f"{head}.{b64(signer.claims(scope='infer:m1'))}"
    return f"{signed}.{b64(forge.hmac_of(forge.public_pem(signer), signed))}"


def tampered(world: World) -> str:
    head, _, signature = world.token().split(".")
    return f"{head}.{b64(world.signers.shared.claims(scope='infer:*', sub='admin'))}.{signature}"


def unsigned(world: World, alg: str) -> str:
    shared = world.signers.shared
    return f"{b64({'alg': alg, 'kid': shared.kid})}.{b64(shared.claims(scope='infer:m1'))}."


def headed(**header: object) -> Callable[[World], str]:
    return lambda world: world.signers.shared.sign(world.signers.shared.claims(scope="infer:m1"), **header)


CASES = [
    sent("good", lambda w: w.token(), PASSED),
    sent("good, signed with the second secret", lambda w: w.signers.rotated.token("infer:m1"), PASSED),
    sent("good RS256", lambda w: w.signers.rs256.token("infer:m1"), PASSED),
    sent("good ES256", lambda w: w.signers.es256.token("infer:m1"), PASSED),
    sent("good EdDSA", lambda w: w.signers.eddsa.token("infer:m1"), PASSED),
    sent("good, keys fetched", lambda w: w.signers.remote.token("infer:m1"), PASSED),
    sent("audience is a list", lambda w: w.token(aud=["other", "quintet"]), PASSED),
    sent("exp a little past, within the skew", lambda w: w.token(exp=now() - 20), PASSED),
    # Who is it?
    Case("no token", lambda _: [], UNAUTHENTICATED, "needs a token"),
    Case("empty header", lambda _: [("Authorization", "")], UNAUTHENTICATED),
    Case("no scheme", lambda w: [("Authorization", w.token())], UNAUTHENTICATED),
    Case("lower-case scheme", lambda w: [("Authorization", f"bearer {w.token()}")], UNAUTHENTICATED),
    Case("Basic", lambda _: [("Authorization", "Basic YTpi")], UNAUTHENTICATED),
    Case("in a header of its own", lambda w: [("x-access-token", w.token())], UNAUTHENTICATED),
    Case("as a cookie", lambda w: [("cookie", f"access_token={w.token()}")], UNAUTHENTICATED),
    Case("good and garbage", lambda w: bearer(w.token()) + bearer("a.b.c"), UNAUTHENTICATED),
    Case("two good ones", lambda w: bearer(w.token()) + bearer(w.token(sub="bob")), UNAUTHENTICATED),
    sent("garbage", lambda _: "garbage", UNAUTHENTICATED),
    sent("garbage in three parts", lambda _: "a.b.c", UNAUTHENTICATED),
    sent("empty", lambda _: "", UNAUTHENTICATED),
    # When?
    sent("expired", lambda w: w.token(exp=now() - 90), UNAUTHENTICATED, "expired"),
    sent("not yet valid", lambda w: w.token(nbf=now() + 90), UNAUTHENTICATED),
    sent("no exp", lambda w: w.token(exp=None), UNAUTHENTICATED),
    sent("lives too long", lambda w: w.token(exp=now() + 4000), UNAUTHENTICATED),
    # From whom, for whom?
    sent("wrong iss", lambda w: w.token(iss="https://evil.test"), UNAUTHENTICATED),
    sent("no iss", lambda w: w.token(iss=None), UNAUTHENTICATED),
    sent("another issuer's name", lambda w: another_issuers_name(w), UNAUTHENTICATED),
    sent("wrong aud", lambda w: w.token(aud="other"), FORBIDDEN),
    sent("another issuer's aud", lambda w: w.token(aud=w.signers.rs256.audience), FORBIDDEN),
    sent("no aud", lambda w: w.token(aud=None), FORBIDDEN),
    sent("no sub", lambda w: w.token(sub=None), FORBIDDEN),
    sent("empty sub", lambda w: w.token(sub=""), FORBIDDEN),
    sent("sub is no string", lambda w: w.token(sub=7), UNAUTHENTICATED),
    sent("sub breaks out of its header", lambda w: w.token(sub="a\r\nx-quintet-subject: root"), FORBIDDEN),
    # Signed how?
    sent("tampered payload", tampered, UNAUTHENTICATED),
    sent("alg none", lambda w: unsigned(w, "none"), UNAUTHENTICATED),
    sent("alg None", lambda w: unsigned(w, "None"), UNAUTHENTICATED),
    sent("alg HS256 without signature", lambda w: unsigned(w, "HS256"), UNAUTHENTICATED),
    sent("alg HS384 on an HS256 key", headed(alg="HS384"), UNAUTHENTICATED),
    sent("HS256 with the public RSA key", signed_with_public_key, UNAUTHENTICATED),
    sent(
        "RS512 on an RS256 key",
        lambda w: w.signers.rs256.sign(w.signers.rs256.claims(scope="infer:m1"), alg="RS512"),
        UNAUTHENTICATED,
    ),
    sent("another key of the same kid", lambda w: forge_same_kid(w), UNAUTHENTICATED),
    sent("no kid", headed(kid=None), FORBIDDEN),
    sent("unknown kid", headed(kid="nobody"), UNAUTHENTICATED),
    sent("crit", headed(crit=["x"], x=1), FORBIDDEN),
    sent("b64 false", headed(crit=["b64"], b64=False), FORBIDDEN),
    # As what?
    sent("the issuer's type", lambda w: typed(w, "at+jwt"), PASSED),
    sent("the type in capitals", lambda w: typed(w, "AT+JWT"), PASSED),
    sent("an ID token", lambda w: typed(w, "JWT"), FORBIDDEN),
    sent("no type", lambda w: typed(w, None), FORBIDDEN),
    sent("a type that begins so", lambda w: typed(w, "at+jwt2"), FORBIDDEN),
    sent(
        "jku and x5u are not followed", headed(kid="evil", jku="https://evil.test", x5u="x"), UNAUTHENTICATED
    ),
]


def typed(world: World, name: str | None) -> str:
    signer = world.signers.typed
    return signer.sign(signer.claims(scope="infer:m1"), typ=name)


def another_issuers_name(world: World) -> str:
    """Whoever holds one issuer's key must not speak for another."""
    company = world.signers.rs256
    return world.token(iss=company.issuer, aud=company.audience)


def forge_same_kid(world: World) -> str:
    good = world.signers.rs256
    evil = forge.Signer(good.issuer, good.audience, "RS256", good.kid, forge.make_rsa())
    return evil.token("infer:m1")


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_token(world: World, transport: Transport, case: Case) -> None:
    answer = transport.call(world.port, "m1", case.headers(world))
    answer.check(case.expected)
    if case.expected is PASSED:
        assert world.m1.seen[0].headers["x-quintet-subject"] == "alice"
        assert "authorization" not in world.m1.seen[0].headers
    else:
        assert case.says in answer.sentence
        assert not world.m1.seen


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)
def test_fetched_keys_allow_only_the_issuers_algorithms(world: World, transport: Transport) -> None:
    """The fetched key does not say what it is for, so Envoy alone would take any RSA algorithm."""
    remote = world.signers.remote
    token = remote.sign(remote.claims(scope="infer:m1"), alg="RS512")
    transport.call(world.port, "m1", bearer(token)).check(FORBIDDEN)
    assert not world.m1.seen


@pytest.mark.parametrize("query", ["?access_token={}", "?token={}", "?jwt={}"])
def test_a_token_in_the_query_is_no_token(world: World, query: str) -> None:
    answer = V2.call(world.port, "m1", query=query.format(world.token()))
    answer.check(UNAUTHENTICATED)
    assert answer.headers["www-authenticate"] == 'Bearer realm="quintet"'


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)
def test_a_token_beyond_the_header_limit(world: World, transport: Transport) -> None:
    answer = transport.call(world.port, "m1", bearer(world.token(note="x" * 30_000)))
    if answer.is_grpc:
        # The HTTP/2 codec resets the stream before there is a request to answer.
        assert answer.status != 0
    else:
        answer.check(HEADERS_TOO_LARGE)
    assert not world.m1.seen


def test_a_refusal_says_how_to_authenticate_and_never_why_in_envoys_words(world: World) -> None:
    answer = V2.call(world.port, "m1", bearer(world.token(iss="https://evil.test")))
    assert answer.headers["www-authenticate"] == 'Bearer realm="quintet", error="invalid_token"'
    assert "Jwt" not in str(answer)
