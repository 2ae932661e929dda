"""What a caller cannot say about itself, and what the gateway says in its place."""

from __future__ import annotations

import json
import re

import pytest

from tests.gateway.calls import DOMAIN, GRPC, MALFORMED, PASSED, TRANSPORTS, V1, V2, Transport, bearer, http
from tests.gateway.conftest import World

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)
def test_nobody_chooses_their_own_subject(world: World, transport: Transport) -> None:
    spoofed = [("x-quintet-subject", "root"), ("X-Quintet-Subject", "admin")]
    transport.call(world.port, "m1", [*spoofed, *bearer(world.token(sub="bob"))]).check(PASSED)
    assert world.m1.seen[0].headers["x-quintet-subject"] == "bob"


@pytest.mark.parametrize("name", ["x-quintet-subject", "x-quintet-issuer", "x-request-id", "authorization"])
def test_nobody_takes_away_what_the_gateway_says(world: World, name: str) -> None:
    """A header that `Connection` names is for one hop alone; a proxy that obeys would take its own off."""
    headers = [("connection", f"close, {name}"), *bearer(world.token())]
    answer = V2.call(world.port, "m1", headers)
    if answer.status != 200:  # refused is as good
        assert answer.status in (400, 401, 403)
        assert not world.m1.seen
        return
    seen = world.m1.seen[0].headers
    assert (seen["x-quintet-subject"], seen["x-quintet-issuer"]) == ("alice", "https://shared.test")
    assert seen["x-request-id"] == answer.headers["x-request-id"]


def test_an_open_route_hands_on_no_subject_and_no_token(world: World) -> None:
    """Where no token is checked, nothing that looks like one may be believed or leak upstream."""
    headers = [("x-quintet-subject", "root"), *bearer(world.token())]
    http(world.port, "GET", "/m1/health", headers).check(PASSED)
    assert {"x-quintet-subject", "authorization"}.isdisjoint(world.m1.seen[0].headers)


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)
def test_the_request_id_is_ours_and_the_same_on_both_sides(world: World, transport: Transport) -> None:
    headers = [("x-request-id", "mine"), *bearer(world.token())]
    answers = [transport.call(world.port, "m1", headers) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(UUID.fullmatch(one) for one in ids)
    assert ids[0] != ids[1]
    assert [seen.headers["x-request-id"] for seen in world.m1.seen] == ids


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)
def test_a_refusal_has_a_request_id_too(world: World, transport: Transport) -> None:
    assert UUID.fullmatch(transport.call(world.port, "m1").headers["x-request-id"])


@pytest.mark.parametrize("transport", [V1, V2, DOMAIN], ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["x_quintet_subject", "X_Quintet_Subject", "quintet_model"])
def test_an_underscore_is_refused(world: World, transport: Transport, name: str) -> None:
    """Upstreams that fold _ into - would read it as the header it imitates."""
    transport.call(world.port, "m1", [(name, "root"), *bearer(world.token())]).check(MALFORMED)
    assert not world.m1.seen


def test_an_underscore_is_refused_in_grpc(world: World) -> None:
    """HTTP/2 has no way to say why: the stream is reset."""
    assert GRPC.call(world.port, "m1", [("x_quintet_subject", "root"), *bearer(world.token())]).status != 0
    assert not world.m1.seen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-original-path", "/metrics"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-max-retries", "9"),
        ("x-envoy-internal", "true"),
        ("x-envoy-decorator-operation", "x"),
        ("x-envoy-force-trace", "1"),
        ("x-envoy-expected-rq-timeout-ms", "1"),
    ],
)
def test_envoys_own_controls_are_not_for_callers(world: World, name: str, value: str) -> None:
    V2.call(world.port, "m1", [(name, value), *bearer(world.token())]).check(PASSED)
    assert name not in world.m1.seen[0].headers


@pytest.mark.parametrize("transport", [V1, V2, DOMAIN], ids=lambda t: t.name)
def test_envoys_own_controls_are_not_obeyed(world: World, transport: Transport) -> None:
    """An address taken for an internal one could have its calls sent again, and models work twice."""
    controls = [
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-retry-grpc-on", "unavailable"),
        ("x-envoy-max-retries", "3"),
    ]
    transport.call(world.port, "m1", [*controls, *bearer(world.token())], query="?status=503")
    assert len(world.m1.seen) == 1


def test_forwarded_for_begins_anew(world: World) -> None:
    """A caller can put what it likes before it, so the last entry is the one that counts."""
    V2.call(world.port, "m1", [("x-forwarded-for", "10.9.8.7"), *bearer(world.token())])
    assert world.m1.seen[0].headers["x-forwarded-for"].split(", ")[-1] != "10.9.8.7"


def test_too_many_headers(world: World) -> None:
    many = [(f"x-{i}", "1") for i in range(120)]
    answer = V2.call(world.port, "m1", [*many, *bearer(world.token())])
    assert (answer.status, answer.body["code"]) == (431, "headers_too_large")


def test_the_gateway_does_not_say_what_it_is_made_of(world: World) -> None:
    headers = V2.call(world.port, "m1", bearer(world.token())).headers
    assert headers["server"] == "quintet"
    assert not [name for name in headers if name.startswith("x-envoy")]


def test_the_access_log_knows_who_and_what_and_never_the_token(world: World) -> None:
    token = world.token(sub="carol")
    answer = http(world.port, "GET", f"/v2/models/m1?access_token={token}", bearer(token))
    line = world.gateway.wait_for_line(answer.headers["x-request-id"])
    entry = json.loads(line)
    assert (entry["subject"], entry["model"], entry["code"]) == ("carol", "m1", 200)
    assert (entry["method"], entry["path"], entry["route"]) == ("GET", "/v2/models/m1", "GET /v2/models/m1")
    assert entry["ms"] >= 0
    assert token not in "".join(world.gateway.lines + world.gateway.log)
    assert token.rsplit(".", 1)[1] not in line
