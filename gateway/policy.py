"""Whose token is believed, and what it allows: the jwt_authn filter and the RBAC rules behind it."""

from __future__ import annotations

from pathlib import Path

from gateway.clusters import jwks_cluster_name
from gateway.config import Config, Issuer
from gateway.proto import Json, seconds, typed
from gateway.routes import accepted_scopes

JWT = "envoy.filters.http.jwt_authn"
SUBJECT_HEADER = "x-quintet-subject"
_RBAC = "envoy.extensions.filters.http.rbac.v3"


def jwks_file_name(issuer: Issuer) -> str:
    return f"{issuer.name}.jwks.json"


def jwt_filter(config: Config, keys: Path) -> Json:
    providers = {issuer.name: _provider(issuer, keys) for issuer in config.issuers}
    names: list[Json] = [{"provider_name": name} for name in providers]
    requires = names[0] if len(names) == 1 else {"requires_any": {"requirements": names}}
    return typed(
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers=providers,
        # Envoy's own words can quote the request's address, and with it a token somebody put there.
        strip_failure_response=True,
        # One rule for all: what no rule matches would pass without a token. Open routes say so themselves.
        rules=[{"match": {"prefix": "/"}, "requires": requires}],
    )


def _provider(issuer: Issuer, keys: Path) -> Json:
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
        "claim_to_headers": [{"header_name": SUBJECT_HEADER, "claim_name": "sub"}],
        **_key_source(issuer, keys),
    }


def _key_source(issuer: Issuer, keys: Path) -> Json:
    if issuer.keys.jwks_url is None:
        return {"local_jwks": {"filename": str(keys / jwks_file_name(issuer))}}
    return {
        "remote_jwks": {
            "http_uri": {"uri": issuer.keys.jwks_url, "cluster": jwks_cluster_name(issuer), "timeout": "5s"},
            "cache_duration": seconds(issuer.keys.refresh),
            # Fetched ahead of use: when the address is down the last keys keep working.
            "async_fetch": {"failed_refetch_duration": "1s"},
        }
    }


def strict_token(issuers: list[Issuer]) -> Json:
    """What jwt_authn leaves unchecked: kid and sub are there, crit is not, the algorithm is the issuer's."""
    return _all(
        _claim(["header", "kid"], {"string_match": {"safe_regex": {"regex": ".+"}}}),
        {"not_id": _claim(["header", "crit"], {"present_match": True})},
        # It becomes a header and a log field, so nothing that could break out of either.
        _claim(["payload", "sub"], {"string_match": {"safe_regex": {"regex": "[!-~]([ -~]*[!-~])?"}}}),
        _any(
            *(
                _all(
                    _claim(["payload", "iss"], {"string_match": {"exact": issuer.issuer}}),
                    _any(
                        *(
                            _claim(["header", "alg"], {"string_match": {"exact": algorithm}})
                            for algorithm in issuer.allowed_algorithms
                        )
                    ),
                )
                for issuer in issuers
            )
        ),
    )


def has_scope(scope: str) -> Json:
    """By exact element, never by substring: infer:m is not infer:m2."""
    return _any(
        *(
            _claim(["payload", claim], {"list_match": {"one_of": {"string_match": {"exact": accepted}}}})
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
    return typed(f"{_RBAC}.RBAC", rules=_rules(principals), rules_stat_prefix=f"{prefix}_")


def _rules(principals: dict[str, Json]) -> Json:
    policies = {
        name: {"permissions": [{"any": True}], "principals": [principal]}
        for name, principal in principals.items()
    }
    return {"action": "ALLOW", "policies": policies}


def allow_on_route(name: str, principal: Json) -> Json:
    return typed(f"{_RBAC}.RBACPerRoute", rbac={"rules": _rules({name: principal})})
