"""Whose token is believed, and what it allows: the jwt_authn filter and the RBAC rules behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.clusters import CONTROL, jwks_cluster_name
from gateway.config import Config, Issuer
from gateway.proto import Json, seconds, typed
from gateway.routes import accepted_scopes

JWT = "envoy.filters.http.jwt_authn"
SUBJECT_HEADER = "x-quintet-subject"
ISSUER_HEADER = "x-quintet-issuer"
_JWT = "envoy.extensions.filters.http.jwt_authn.v3"
_RBAC = "envoy.extensions.filters.http.rbac.v3"

#: What `sub` may be. It becomes a header and a log field, so nothing that could break out of either.
SUBJECT = re.compile("[!-~]([ -~]*[!-~])?")

#: Files are asked for anew as often: a new key is known, and a withdrawn one forgotten, within about this.
FILE_REFRESH = 1.0

#: What a page of the gateway's own needs: a token for any model here is good enough to be told so.
ANY_AUDIENCE = "any audience"


def jwt_filter(config: Config) -> Json:
    of_models = {
        audience_of(name): _requires(config.issuers, model.audiences)
        for name, model in config.models.items()
        if model.audiences
    }
    if of_models:
        of_models[ANY_AUDIENCE] = _requires(config.issuers, config.audiences())
    built = typed(
        f"{_JWT}.JwtAuthentication",
        providers={issuer.name: _provider(issuer) for issuer in config.issuers},
        # Envoy's own words can quote the request's address, and with it a token somebody put there.
        strip_failure_response=True,
        # One rule for all: what no rule matches would pass without a token. Open routes say so themselves.
        rules=[{"match": {"prefix": "/"}, "requires": _requires(config.issuers)}],
    )
    return built | ({"requirement_map": of_models} if of_models else {})


def audience_of(model: str) -> str:
    return f"audience of {model}"


def requires_audience(config: Config, model: str | None) -> Json:
    """The route's part of the filter, empty where the issuers' own audiences hold."""
    if model is None and any(other.audiences for other in config.models.values()):
        return {JWT: typed(f"{_JWT}.PerRouteConfig", requirement_name=ANY_AUDIENCE)}
    if model is not None and config.models[model].audiences:
        return {JWT: typed(f"{_JWT}.PerRouteConfig", requirement_name=audience_of(model))}
    return {}


def no_token() -> Json:
    return {JWT: typed(f"{_JWT}.PerRouteConfig", disabled=True)}


def _requires(issuers: Sequence[Issuer], audiences: Sequence[str] | None = None) -> Json:
    names: list[Json] = [{"provider_name": issuer.name} for issuer in issuers]
    if audiences:
        names = [{"provider_and_audiences": name | {"audiences": list(audiences)}} for name in names]
    return names[0] if len(names) == 1 else {"requires_any": {"requirements": names}}


def _provider(issuer: Issuer) -> Json:
    return {
        "issuer": issuer.issuer,
        "audiences": list(issuer.audiences),
        "require_expiration": True,
        "max_lifetime": seconds(issuer.max_lifetime),
        "clock_skew_seconds": round(issuer.clock_skew),
        "forward": False,
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "header_in_metadata": "header",
        "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope", "scp"]},
        "claim_to_headers": [
            {"header_name": SUBJECT_HEADER, "claim_name": "sub"},
            {"header_name": ISSUER_HEADER, "claim_name": "iss"},
        ],
        "remote_jwks": _keys(issuer),
    }


def _keys(issuer: Issuer) -> Json:
    """Files too are fetched, from this process: Envoy itself would read a file once and never again."""
    if issuer.keys.jwks_url is None:
        uri, cluster, refresh = f"http://{CONTROL}/keys/{issuer.name}", CONTROL, FILE_REFRESH
    else:
        uri, cluster, refresh = issuer.keys.jwks_url, jwks_cluster_name(issuer), issuer.keys.refresh
    return {
        "http_uri": {"uri": uri, "cluster": cluster, "timeout": "5s"},
        "cache_duration": seconds(refresh),
        # Fetched ahead of use: when the address is down the last keys keep working.
        "async_fetch": {"failed_refetch_duration": "1s"},
    }


def strict_token(issuers: Sequence[Issuer]) -> Json:
    """What jwt_authn leaves unchecked: kid and sub are there, crit is not, alg and typ the issuer's."""
    return _all(
        _claim(["header", "kid"], {"string_match": {"safe_regex": {"regex": ".+"}}}),
        {"not_id": _claim(["header", "crit"], {"present_match": True})},
        _claim(["payload", "sub"], {"string_match": {"safe_regex": {"regex": SUBJECT.pattern}}}),
        _any(*map(_signed_as, issuers)),
    )


def _signed_as(issuer: Issuer) -> Json:
    return _all(
        _claim(["payload", "iss"], _exactly(issuer.issuer)),
        _any(*(_claim(["header", "alg"], _exactly(name)) for name in issuer.allowed_algorithms)),
        *(
            [_any(*(_claim(["header", "typ"], _exactly(name, any_case=True)) for name in issuer.token_types))]
            if issuer.token_types
            else []
        ),
    )


def _exactly(value: str, *, any_case: bool = False) -> Json:
    return {"string_match": {"exact": value} | ({"ignore_case": True} if any_case else {})}


def has_scope(scope: str) -> Json:
    """By exact element, never by substring: infer:m is not infer:m2."""
    return _any(
        *(
            _claim(["payload", claim], {"list_match": {"one_of": _exactly(accepted)}})
            for accepted in accepted_scopes(scope)
            for claim in ("scope", "scp")
        )
    )


def _claim(path: list[str], value: Json) -> Json:
    matcher = {"filter": JWT, "path": [{"key": key} for key in path], "value": value}
    return {"sourced_metadata": {"metadata_source": "DYNAMIC", "metadata_matcher": matcher}}


def _all(*ids: Json) -> Json:
    return ids[0] if len(ids) == 1 else {"and_ids": {"ids": list(ids)}}


def _any(*ids: Json) -> Json:
    return ids[0] if len(ids) == 1 else {"or_ids": {"ids": list(ids)}}


def allow(prefix: str, principals: dict[str, Json]) -> Json:
    return typed(f"{_RBAC}.RBAC", rules=_rules(principals), rules_stat_prefix=prefix)


def _rules(principals: dict[str, Json]) -> Json:
    policies = {
        name: {"permissions": [{"any": True}], "principals": [principal]}
        for name, principal in principals.items()
    }
    return {"action": "ALLOW", "policies": policies}


def allow_on_route(name: str, principal: Json) -> Json:
    return typed(f"{_RBAC}.RBACPerRoute", rbac={"rules": _rules({name: principal})})
