"""Who may call what: a scope is an element, compared whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.gateway.calls import FORBIDDEN, PASSED, TRANSPORTS, Answer, Transport, Verdict, bearer, http, rpc
from tests.gateway.conftest import World

SERVICE = "/inference.GRPCInferenceService"


@dataclass(frozen=True)
class Case:
    name: str
    claims: dict[str, Any]
    m1: Verdict
    m10: Verdict


CASES = [
    Case("one model", {"scope": "infer:m1"}, PASSED, FORBIDDEN),
    Case("the other, whose name begins the same", {"scope": "infer:m10"}, FORBIDDEN, PASSED),
    Case("every model", {"scope": "infer:*"}, PASSED, PASSED),
    Case("both", {"scope": "infer:m1 infer:m10"}, PASSED, PASSED),
    Case("among others", {"scope": "openid profile infer:m1 email"}, PASSED, FORBIDDEN),
    Case("a list", {"scope": ["infer:m1"]}, PASSED, FORBIDDEN),
    Case("scp", {"scp": "infer:m1"}, PASSED, FORBIDDEN),
    Case("scp, a list", {"scp": ["read:models", "infer:m1"]}, PASSED, FORBIDDEN),
    Case("one in each claim", {"scope": "infer:m1", "scp": ["infer:m10"]}, PASSED, PASSED),
    Case("none", {}, FORBIDDEN, FORBIDDEN),
    Case("empty", {"scope": ""}, FORBIDDEN, FORBIDDEN),
    Case("only blanks", {"scope": "   "}, FORBIDDEN, FORBIDDEN),
    Case("the verb alone", {"scope": "infer"}, FORBIDDEN, FORBIDDEN),
    Case("the name alone", {"scope": "m1"}, FORBIDDEN, FORBIDDEN),
    Case("a beginning", {"scope": "infer:m"}, FORBIDDEN, FORBIDDEN),
    Case("a pattern", {"scope": "infer:m*"}, FORBIDDEN, FORBIDDEN),
    Case("a star", {"scope": "*"}, FORBIDDEN, FORBIDDEN),
    Case("upper case", {"scope": "INFER:M1"}, FORBIDDEN, FORBIDDEN),
    Case("a comma between", {"scope": "infer:m1,infer:m10"}, FORBIDDEN, FORBIDDEN),
    Case("a list with blanks inside", {"scope": ["infer:m1 infer:m10"]}, FORBIDDEN, FORBIDDEN),
    Case("another verb", {"scope": "bench:m1"}, FORBIDDEN, FORBIDDEN),
    Case("a map", {"scope": {"infer:m1": True}}, FORBIDDEN, FORBIDDEN),
    Case("a number", {"scope": 1}, FORBIDDEN, FORBIDDEN),
    Case("another claim", {"scopes": "infer:m1", "permissions": ["infer:m1"]}, FORBIDDEN, FORBIDDEN),
]


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda t: t.name)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_scope(world: World, transport: Transport, case: Case) -> None:
    headers = bearer(world.token(**{"scope": None} | case.claims))
    for name, expected, fake in (("m1", case.m1, world.m1), ("m10", case.m10, world.m10)):
        answer = transport.call(world.port, name, headers)
        answer.check(expected)
        assert len(fake.seen) == (expected is PASSED)
        if expected is PASSED:
            assert answer.body["model"] == name, "it went to its own model and no other"
        else:
            assert f"the scope infer:{name}" in str(answer.body), "the caller learns what is missing"


def call(world: World, route: str, scope: str) -> Answer:
    method, path = route.split(" ")
    headers = bearer(world.token(scope))
    if method == "gRPC":
        return rpc(world.port, f"{SERVICE}/{path}", [("quintet-model", "m1"), *headers], b"")
    return http(world.port, method, path, headers)


@pytest.mark.parametrize(
    "route",
    [
        "GET /v1/models/m1",
        "GET /v2/models/m1",
        "GET /v2/models/m1/ready",
        "GET /m1/health/detailed",
        "GET /m1/docs",
        "GET /m1/openapi.json",
        "GET /stream/a-1",
        "GET /jobs/a-1",
        "DELETE /jobs/a-1",
        "gRPC ModelReady",
        "gRPC ModelMetadata",
    ],
)
def test_every_other_route_of_a_model_asks_for_the_same_scope(world: World, route: str) -> None:
    call(world, route, "infer:m1").check(PASSED)
    assert world.m1.seen.pop().path
    call(world, route, "infer:m10").check(FORBIDDEN)
    call(world, route, "read:models jobs:admin bench:m1").check(FORBIDDEN)
    assert not world.m1.seen


def test_a_route_may_ask_for_a_scope_of_its_own(world: World) -> None:
    call(world, "POST /benchmark", "bench:m1").check(PASSED)
    for scope in ("infer:m1", "infer:*", "bench:*", "bench:m10"):
        call(world, "POST /benchmark", scope).check(FORBIDDEN)


def test_a_models_pages_stand_under_its_kubernetes_name(world: World) -> None:
    answer = http(world.port, "GET", "/m-ten/health/detailed?verbose=1", bearer(world.token("infer:m10")))
    assert (answer.body["model"], answer.body["path"], answer.body["query"]) == (
        "m10",
        "/health/detailed",
        "verbose=1",
    )
