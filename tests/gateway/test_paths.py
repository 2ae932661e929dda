"""What can be reached, and what cannot however it is spelled."""

from __future__ import annotations

import pytest

from tests.gateway.calls import (
    FORBIDDEN,
    MALFORMED,
    NOT_FOUND,
    PASSED,
    UNAUTHENTICATED,
    Answer,
    bearer,
    http,
    rpc,
)
from tests.gateway.conftest import World

GRPC = "/inference.GRPCInferenceService"

NOWHERE = [
    "/metrics",
    "/docs/",
    "/docs/caller.py",
    "/docs/..%2fapp.py",
    "/redoc",
    "/openapi.yaml",
    "/m1",
    "/m1/",
    "/m1/metrics",
    "/m1/health/detailed/",
    "/m1/v2/repository/index",
    "/v1",
    "/v1/models",
    "/v1/models/m1/",
    "/v1/models/m1:explain",
    "/v1/models/unknown",
    "/v2",
    "/v2/models/m1/versions/1/infer",
    "/v2/models/m1/load",
    "/v2/models/m1/generate",
    "/v2/repository/index",
    "/v2/repository/models/m1/unload",
    "/v2/health/ready",
    "/v2/health/live",
    "/jwks.json",
    "/ready",
    "/stats",
    "/config_dump",
    "/quitquitquit",
    "/M1/health",
    "/V2/models/m1",
    "/v2/models/M1",
    "/stream/",
    "/stream/a/b",
    "/stream/a%00b",
    "/stream/a%20b",
    "/v2/models/m1;x=1/infer",
    "/v2/models/m1%3f",
    "/v2/models/%2e%2e%2fmodels",
]


@pytest.mark.parametrize("path", NOWHERE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_listed_is_not_there(world: World, method: str, path: str) -> None:
    """401 without a token, 404 with one: who may ask learns of a typing error, others learn nothing."""
    anonymous = http(world.port, method, path)
    known = http(world.port, method, path, bearer(world.token("infer:*")))
    if known.status == 307:  # an encoded slash: told the plain spelling, where the same rules hold
        assert anonymous.status == 307
        anonymous = http(world.port, method, anonymous.headers["location"])
        known = http(world.port, method, known.headers["location"], bearer(world.token("infer:*")))
    if "%00" in path:
        assert anonymous.status == known.status == 400
    else:
        anonymous.check(UNAUTHENTICATED)
        known.check(NOT_FOUND)
    for fake in (world.m1, world.m10):
        assert not fake.seen


@pytest.mark.parametrize(
    ("trick", "plain"),
    [
        ("/m1/health/../docs", "/m1/docs"),
        ("/m1/./docs", "/m1/docs"),
        ("/m1/%2e%2e/v2/models/m1", "/v2/models/m1"),
        ("//v2//models//m1", "/v2/models/m1"),
        ("/v2/models/m1/../m10", "/v2/models/m10"),
        ("/m1/health/../../v2/models/m10/ready", "/v2/models/m10/ready"),
        ("/%762/models/m1", "/v2/models/m1"),
        ("http://elsewhere.test/v2/models/m1", "/v2/models/m1"),
    ],
)
def test_a_trick_is_judged_as_the_plain_path_it_means(world: World, trick: str, plain: str) -> None:
    def ask(path: str, scope: str | None) -> Answer:
        return http(world.port, "GET", path, bearer(world.token(scope)) if scope else ())

    for scope in (None, "infer:m1", "infer:m10"):
        asked, expected = ask(trick, scope), ask(plain, scope)
        assert asked.status == expected.status, (asked, expected)
    for fake in (world.m1, world.m10):
        assert all(".." not in seen.path and "//" not in seen.path for seen in fake.seen)


def test_a_fragment_is_no_part_of_a_request(world: World) -> None:
    """A client keeps it to itself; what is cut off here might be read elsewhere."""
    http(world.port, "GET", "/v2/models/m1#fragment", bearer(world.token())).check(MALFORMED)
    assert not world.m1.seen


@pytest.mark.parametrize("path", ["/v2%2fmodels%2fm1", "/m1%5cdocs", "/m1/health%2f..%2fdocs"])
def test_an_encoded_slash_is_never_passed_on(world: World, path: str) -> None:
    answer = http(world.port, "GET", path, bearer(world.token()))
    assert answer.status == 307
    assert "%" not in answer.headers["location"]
    assert not world.m1.seen


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v2/models/m1/infer", "POST"),
        ("POST", "/v2/models/m1", "GET, HEAD"),
        ("DELETE", "/v1/models/m1", "GET, HEAD"),
        ("PUT", "/domain/m1", "POST"),
        ("POST", "/jobs/a", "GET, HEAD, DELETE"),
        ("POST", "/m1/health", "GET, HEAD"),
        ("OPTIONS", "/v2/models/m1/infer", "POST"),
        ("HEAD", "/v2/models/m1/infer", "POST"),
        ("HEAD", "/stream/a", "GET"),
        ("TRACE", "/v2/models/m1", "GET, HEAD"),
    ],
)
def test_another_method_is_told_which_ones_there_are(
    world: World, method: str, path: str, allowed: str
) -> None:
    assert http(world.port, method, path).status == 401
    answer = http(world.port, method, path, bearer(world.token()))
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert answer.body["code"] == "method_not_allowed"
    assert not world.m1.seen


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/health", None),
        ("/docs", None),
        ("/m1/health", None),
        ("/models", "read:models"),
        ("/v2/models/m1", "infer:m1"),
        ("/jobs/a", "infer:m1"),
    ],
)
def test_what_answers_get_answers_head(world: World, path: str, scope: str | None) -> None:
    """The same, without the body; and to the same callers alone."""

    def ask(method: str, scope: str | None) -> Answer:
        return http(world.port, method, path, bearer(world.token(scope)) if scope else ())

    whole, head = ask("GET", scope), ask("HEAD", scope)
    assert (head.status, head.body) == (whole.status, "")
    assert head.headers.get("content-type") == whole.headers["content-type"]
    if scope is not None:
        assert ask("HEAD", None).status == 401
        assert ask("HEAD", "infer:m10").status == 403


def test_connect_and_upgrade_lead_nowhere(world: World) -> None:
    http(world.port, "CONNECT", "m1:443").check(MALFORMED)
    http(world.port, "CONNECT", "m1:443", bearer(world.token())).check(MALFORMED)
    upgrade = [("connection", "Upgrade"), ("upgrade", "websocket"), *bearer(world.token())]
    http(world.port, "GET", "/stream/a", upgrade).check(MALFORMED)
    assert not world.m1.seen


@pytest.mark.parametrize("model", ["unknown", "M1", "m1 ", "m1,m10", "", "infer:m1", "*"])
def test_grpc_goes_to_a_model_by_its_exact_name(world: World, model: str) -> None:
    rpc(world.port, f"{GRPC}/ModelInfer", [("quintet-model", model)]).check(UNAUTHENTICATED)
    answer = rpc(
        world.port, f"{GRPC}/ModelInfer", [("quintet-model", model), *bearer(world.token("infer:*"))]
    )
    answer.check(NOT_FOUND)
    assert "quintet-model" in answer.sentence
    assert not world.m1.seen + world.m10.seen


def test_grpc_without_a_model_says_what_is_missing(world: World) -> None:
    answer = rpc(world.port, f"{GRPC}/ModelInfer", bearer(world.token("infer:*")))
    answer.check(NOT_FOUND)
    assert "quintet-model" in answer.sentence


@pytest.mark.parametrize("order", [("m1", "m10"), ("m10", "m1")])
def test_grpc_with_two_models_is_judged_by_the_one_it_goes_to(world: World, order: tuple[str, str]) -> None:
    named = [("quintet-model", name) for name in order]
    rpc(world.port, f"{GRPC}/ModelInfer", [*named, *bearer(world.token("infer:m1"))])
    assert not world.m10.seen
    rpc(world.port, f"{GRPC}/ModelInfer", [*named, *bearer(world.token("infer:*"))]).check(PASSED)
    for fake in (world.m1, world.m10):
        assert all(seen.headers["quintet-model"] == fake.name for seen in fake.seen)


@pytest.mark.parametrize(
    "method",
    [
        f"{GRPC}/RepositoryModelLoad",
        f"{GRPC}/RepositoryModelUnload",
        f"{GRPC}/ServerLive",
        f"{GRPC}/ServerMetadata",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
    ],
)
def test_no_other_grpc_method_is_there(world: World, method: str) -> None:
    named = [("quintet-model", "m1")]
    rpc(world.port, method, named).check(UNAUTHENTICATED)
    assert rpc(world.port, method, [*named, *bearer(world.token("infer:*"))]).status == 12  # UNIMPLEMENTED
    assert not world.m1.seen


def test_grpc_paths_are_for_grpc_alone(world: World) -> None:
    """JSON sent there would reach the gRPC port as something that it does not expect."""
    headers = [("quintet-model", "m1"), ("content-type", "application/json"), *bearer(world.token())]
    http(world.port, "POST", f"{GRPC}/ModelInfer", headers, b"{}").check(NOT_FOUND)
    assert not world.m1.seen


def test_the_models_metadata_decides_nothing_over_http(world: World) -> None:
    """A caller with one model's scope and another's name in the header stays where the path says."""
    headers = [("quintet-model", "m10"), *bearer(world.token("infer:m1"))]
    assert http(world.port, "GET", "/v2/models/m1", headers).body["model"] == "m1"
    http(world.port, "GET", "/v2/models/m10", headers).check(FORBIDDEN)


def test_a_template_takes_one_segment(world: World) -> None:
    answer = http(world.port, "GET", "/jobs/01J-abc_9.z~", bearer(world.token()))
    answer.check(PASSED)
    assert answer.body["path"] == "/jobs/01J-abc_9.z~"
