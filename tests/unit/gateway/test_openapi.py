"""One document of what a caller may use: the gateway decides what is in it, the predictors how it reads."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import Config
from gateway.portal.caller import Caller, caller_of
from gateway.portal.catalogue import allowed_routes, catalogue
from gateway.portal.documents import NOTHING, Said
from gateway.portal.kubernetes import Observed, Status
from gateway.portal.openapi import merged

CONFIG = Config.model_validate(
    {
        "issuers": [
            {
                "name": name,
                "issuer": f"https://{name}.test",
                "audiences": [f"of-{name}"],
                "keys": {"jwks_url": "https://idp.test/jwks"},
            }
            for name in ("one", "two")
        ],
        "models": {
            "alpha": {
                "upstream": {"host": "a"},
                "routes": [
                    {"path": "/classify"},
                    {"path": "/bench", "scope": "bench:alpha"},
                    {"path": "/stream/{job_id}", "methods": ["GET"], "kind": "stream"},
                ],
            },
            "beta": {"upstream": {"host": "b", "grpc_port": None}, "audiences": ["https://beta/"]},
        },
        "limits": {"per_caller": {"rate": "10/m", "streams": 3}},
    }
)


def caller(*scopes: str, issuer: str = "one", audience: str = "of-one") -> Caller:
    return Caller(f"https://{issuer}.test", frozenset(scopes), frozenset({audience}))


@pytest.mark.parametrize(
    ("who", "models"),
    [
        (caller("infer:alpha"), {"alpha"}),
        (caller("infer:*"), {"alpha"}),
        (caller("infer:*", audience="beta"), {"beta"}),
        (caller("bench:alpha"), {"alpha"}),
        (caller("read:models"), set()),
        (caller("infer:alpha", audience="of-two"), set()),
        (caller("infer:alpha", issuer="two", audience="of-two"), {"alpha"}),
        (caller("infer:alpha", issuer="two"), set()),
    ],
)
def test_what_a_token_may_use(who: Caller, models: set[str]) -> None:
    assert set(allowed_routes(CONFIG, who)) == models


def test_the_catalogue_names_what_this_token_may_call() -> None:
    unknown = Observed(Status.UNKNOWN)
    ready, observed = {"alpha": True, "beta": False}, {"alpha": unknown, "beta": unknown}
    entries = catalogue(CONFIG, caller("infer:alpha"), ready, observed)["models"]
    (entry,) = entries
    assert (entry["name"], entry["ready"], entry["scope"]) == ("alpha", True, "infer:alpha")
    paths = {route["path"]: route["kind"] for route in entry["routes"]}
    assert paths["/stream/{job_id}"] == "stream"
    assert "/bench" not in paths, "that one asks for another scope"
    assert entry["grpc"][0] == "/inference.GRPCInferenceService/ModelInfer"
    assert entry["limits"] == {
        "max_body_bytes": 4 << 20,
        "rate": {"requests": 10, "seconds": 60},
        "burst": 10,
        "streams": 3,
    }


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('["infer:a","infer:b"]', {"infer:a", "infer:b"}),
        ("infer:a", {"infer:a"}),
        ("-", set()),
        ("", set()),
        ('{"infer:a": true}', set()),
        ("7", set()),
        ('["infer:a", 7, null]', {"infer:a"}),
    ],
)
def test_claims_as_envoy_writes_them(header: str, found: set[str]) -> None:
    assert caller_of({"x-quintet-scope": header}).scopes == found


THEIRS: dict[str, Any] = {
    "info": {"title": "Alpha"},
    "paths": {
        "/classify": {
            "post": {
                "summary": "Classify",
                "security": [],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ask[int]"}}}
                },
                "responses": {"200": {"description": "ok"}, "429": {"description": "theirs"}},
            },
            "delete": {"summary": "not routed"},
        },
        "/stream/{id}": {"get": {"summary": "Follow a job", "parameters": [{"name": "id", "in": "path"}]}},
        "/health": {"get": {"summary": "Health"}},
        "/metrics": {"get": {"summary": "Secret"}},
        "/v2/repository/index": {"post": {"summary": "Secret"}},
    },
    "components": {
        "schemas": {"Ask[int]": {"properties": {"next": {"$ref": "#/components/schemas/Ask[int]"}}}}
    },
}
METADATA = {"inputs": [{"name": "text", "shape": [-1], "datatype": "BYTES"}]}


def document(said: Said) -> dict[str, Any]:
    routes = allowed_routes(CONFIG, caller("infer:alpha"))
    return merged(routes, {"alpha": said}, "1")


def test_the_predictors_words_on_the_gateways_routes() -> None:
    made = document(Said(THEIRS, METADATA))
    classify = made["paths"]["/classify"]
    assert set(classify) == {"post"}
    assert classify["post"]["summary"] == "Classify"
    assert classify["post"]["security"] == [{"token": []}], "who may call is not the predictor's to say"
    assert classify["post"]["responses"]["429"] == {"description": "theirs"}
    assert "401" in classify["post"]["responses"]
    assert made["paths"]["/alpha/health"]["get"]["summary"] == "Health"
    assert made["paths"]["/stream/{id}"]["get"]["parameters"][0]["name"] == "id"
    assert "Secret" not in str(made)
    assert "/bench" not in made["paths"]


def test_two_models_may_use_one_name_for_two_things() -> None:
    made = document(Said(THEIRS, METADATA))
    schema = made["paths"]["/classify"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/alpha.Ask_int_"}
    own = made["components"]["schemas"]["alpha.Ask_int_"]
    assert own["properties"]["next"] == schema


def test_v1_and_v2_are_described_with_something_to_begin_from() -> None:
    made = document(Said(THEIRS, METADATA))
    content = made["paths"]["/v2/models/alpha/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert content["example"] == {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["text"]}]
    }


def test_a_predictor_that_says_nothing_or_nonsense_is_described_by_its_routes() -> None:
    nonsense = Said({"paths": ["x"], "components": 7, "info": "x"}, {"inputs": [1, {"shape": "x"}]})
    for said in (NOTHING, nonsense):
        made = document(said)
        assert made["paths"]["/stream/{job_id}"]["get"]["parameters"][0]["name"] == "job_id"
        assert set(made["paths"]["/classify"]) == {"post"}


def test_every_reference_leads_somewhere() -> None:
    made = document(Said(THEIRS, METADATA))

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [ref for inner in value.values() for ref in references(inner)]
        return [ref for inner in value for ref in references(inner)] if isinstance(value, list) else []

    assert {ref.rsplit("/", 1)[1] for ref in references(made)} <= made["components"]["schemas"].keys()
