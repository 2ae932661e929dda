"""Config -> Envoy bootstrap: a pure function, so that its whole result can be read in the golden files.

Each setting that looks superfluous closes a hole that was measured on this version; the tests in
tests/gateway show every one of them on the real binary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.config import Config, Issuer, Kind, Limits, Model, Timeouts
from gateway.replies import METADATA, NEEDS, local_reply_config, overwrite
from gateway.routes import PORTAL, Route, accepted_scopes, refused_methods, route_table

Json = dict[str, Any]

SUBJECT_HEADER = "x-quintet-subject"
MODEL_METADATA = "quintet-model"
#: Set by the gateway alone. Stripped before any filter runs, whatever the route.
OWN_HEADERS = (SUBJECT_HEADER, "x-request-id")

JWT = "envoy.filters.http.jwt_authn"
TOKEN_RBAC = "quintet.token"
SCOPE_RBAC = "quintet.scope"
_RBAC = "envoy.extensions.filters.http.rbac.v3"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

LOOPBACK = "127.0.0.1"
SEGMENT = "[A-Za-z0-9._~-]+"


def typed(kind: str, **fields: Any) -> Json:
    return {"@type": f"type.googleapis.com/{kind}", **fields}


def seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


def bootstrap(config: Config, keys: Path) -> Json:
    """`keys` is the folder with one ``<issuer>.jwks.json`` for each issuer whose keys are not fetched."""
    return {
        "node": {"id": "quintet-gateway", "cluster": "quintet"},
        "admin": {"address": _address(LOOPBACK, config.admin.port), "ignore_global_conn_limit": True},
        "overload_manager": _overload(config.limits),
        "static_resources": {"listeners": [_listener(config, keys)], "clusters": _clusters(config)},
    }


def jwks_file_name(issuer: Issuer) -> str:
    return f"{issuer.name}.jwks.json"


# --- listener -------------------------------------------------------------------------------------


def _overload(limits: Limits) -> Json:
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = typed(kind, max_active_downstream_connections=limits.max_connections)
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return {"resource_monitors": [{"name": name, "typed_config": config}]}


def _listener(config: Config, keys: Path) -> Json:
    manager = "envoy.filters.network.http_connection_manager"
    return {
        "name": "http",
        "address": _address(config.listen.address, config.listen.port),
        "per_connection_buffer_limit_bytes": 1 << 16,
        "filter_chains": [{"filters": [{"name": manager, "typed_config": _http_manager(config, keys)}]}],
    }


def _http_manager(config: Config, keys: Path) -> Json:
    limits = config.limits
    return typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        server_name="quintet",
        # Rules and routes see one spelling of a path, and so does the predictor.
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="UNESCAPE_AND_REDIRECT",
        max_request_headers_kb=limits.max_headers_kib,
        request_headers_timeout=seconds(limits.headers_timeout),
        request_timeout=seconds(limits.request_timeout),
        stream_idle_timeout="300s",
        common_http_protocol_options={
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": limits.max_headers,
            "idle_timeout": "3600s",
        },
        http2_protocol_options={
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 1 << 18,
            "initial_connection_window_size": 1 << 20,
        },
        # No caller is trusted: x-envoy-* from an address taken for internal would be obeyed, and an empty
        # list means loopback and RFC 1918. So the list holds one address that nobody has.
        use_remote_address=True,
        internal_address_config={"cidr_ranges": [{"address_prefix": "0.0.0.0", "prefix_len": 32}]},
        generate_request_id=True,
        always_set_request_id_in_response=True,
        early_header_mutation_extensions=[
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": typed(
                    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    mutations=[{"remove": name} for name in OWN_HEADERS],
                ),
            }
        ],
        local_reply_config=local_reply_config(limits),
        access_log=[_access_log()],
        http_filters=[
            {"name": JWT, "typed_config": _jwt(config, keys)},
            {"name": TOKEN_RBAC, "typed_config": _allow("token", {"strict": _strict_token(config.issuers)})},
            # No policy: denied, unless the route allows.
            {"name": SCOPE_RBAC, "typed_config": _allow("scope", {})},
            {
                # Behind the checks, so that nothing of a caller without a right is ever held in memory.
                "name": "envoy.filters.http.buffer",
                "typed_config": typed(
                    "envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=limits.max_body_bytes
                ),
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": typed(
                    "envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
                ),
            },
        ],
        route_config={
            "name": "all",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes(config)}],
            # The token was for us. jwt_authn takes it off where it runs; this takes it off everywhere.
            "request_headers_to_remove": ["authorization"],
        },
    )


def _access_log() -> Json:
    """One JSON line a request. The path is logged without its query, which is where tokens get lost."""
    fields = {
        "time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "subject": f"%DYNAMIC_METADATA({JWT}:payload:sub)%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "route": "%ROUTE_NAME%",
        "model": f"%METADATA(ROUTE:{METADATA}:model)%",
        "code": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS_NUMBER%",
        "flags": "%RESPONSE_FLAGS%",
        "reason": "%RESPONSE_CODE_DETAILS%",
        "ms": "%DURATION%",
        "upstream_ms": "%RESPONSE_DURATION%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "peer": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    }
    kind = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
    config = typed(kind, log_format={"json_format": fields, "omit_empty_values": True})
    return {"name": "envoy.access_loggers.stdout", "typed_config": config}


# --- tokens and scopes ----------------------------------------------------------------------------


def _jwt(config: Config, keys: Path) -> Json:
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
            "http_uri": {"uri": issuer.keys.jwks_url, "cluster": _jwks_cluster_name(issuer), "timeout": "5s"},
            "cache_duration": seconds(issuer.keys.refresh),
            # Fetched ahead of use: when the address is down the last keys keep working.
            "async_fetch": {"failed_refetch_duration": "1s"},
        }
    }


def _strict_token(issuers: list[Issuer]) -> Json:
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


def _has_scope(scope: str) -> Json:
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


def _allow(prefix: str, principals: dict[str, Json]) -> Json:
    return typed(f"{_RBAC}.RBAC", rules=_rules(principals), rules_stat_prefix=f"{prefix}_")


def _rules(principals: dict[str, Json]) -> Json:
    policies = {
        name: {"permissions": [{"any": True}], "principals": [principal]}
        for name, principal in principals.items()
    }
    return {"action": "ALLOW", "policies": policies}


def _allow_on_route(name: str, principal: Json) -> Json:
    return typed(f"{_RBAC}.RBACPerRoute", rbac={"rules": _rules({name: principal})})


# --- routes ---------------------------------------------------------------------------------------


def _routes(config: Config) -> list[Json]:
    table = route_table(config)
    routes = [_route(route, config) for route in table]
    for route, methods in refused_methods(table).items():
        routes.append(
            {
                "name": f"405 {route.path}",
                "match": _path_match(route),
                "direct_response": {"status": 405},
                "response_headers_to_add": [overwrite("allow", ", ".join(methods))],
                **_any_good_token(),
            }
        )
    # The last one denies: 401 without a good token, 404 with one.
    last: Json = {"name": "404", "match": {"prefix": "/"}, "direct_response": {"status": 404}}
    return [*routes, last | _any_good_token()]


def _any_good_token() -> Json:
    """For answers that are the same to every caller with a token; TOKEN_RBAC has judged that already."""
    return _policy(_allow_on_route("any", {"any": True}), "nothing more", None)


def _route(route: Route, config: Config) -> Json:
    match = _path_match(route)
    headers = [{"name": ":method", "string_match": {"exact": route.method}}]
    action: Json = {"cluster": _cluster_name(route)}
    if route.grpc:
        match["grpc"] = {}
        headers.append({"name": MODEL_METADATA, "string_match": {"exact": route.model}})
    if route.rewrite is not None:
        action["prefix_rewrite"] = route.rewrite
    timeouts = config.models[route.model].timeouts if route.model else Timeouts(unary=5)
    action |= _timeouts(route.kind, timeouts) | {"retry_policy": _retries()}
    built: Json = {
        "name": f"{route.method} {route.path}" + (f" {route.model}" if route.grpc else ""),
        "match": match | {"headers": headers},
        "route": action,
        **(_open(route) if route.scope is None else _scoped(route, route.scope)),
    }
    if route.grpc:
        # Sent twice, the first one decides; the predictor shall see no other than the one that was judged.
        built["request_headers_to_add"] = [overwrite(MODEL_METADATA, str(route.model))]
    return built


def _path_match(route: Route) -> Json:
    if not route.is_template:
        return {"path": route.path}
    parts = [SEGMENT if p.startswith("{") else p.replace(".", r"\.") for p in route.path.split("/")]
    return {"safe_regex": {"regex": "/".join(parts)}}


def _timeouts(kind: Kind, timeouts: Timeouts) -> Json:
    if kind is Kind.STREAM:
        # `timeout` counts to the last byte and would cut a stream that is in good health.
        return {
            "timeout": "0s",
            "idle_timeout": seconds(timeouts.stream_idle),
            "max_stream_duration": {"max_stream_duration": seconds(timeouts.stream)},
        }
    limit = timeouts.job if kind is Kind.JOB else timeouts.unary
    # The idle timer also runs while a model thinks: it must not be what ends the call.
    return {"timeout": seconds(limit), "idle_timeout": seconds(max(300.0, limit + 30))}


def _retries() -> Json:
    """Only what certainly never reached the model, so that no work is ever done twice."""
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.025s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }


def _open(route: Route) -> Json:
    anyone = _allow_on_route("open", {"any": True})
    policy = _policy(anyone, "nothing", route.model)
    policy["typed_per_filter_config"] |= {
        JWT: typed("envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", disabled=True),
        TOKEN_RBAC: anyone,
    }
    return policy


def _scoped(route: Route, scope: str) -> Json:
    return _policy(_allow_on_route(scope, _has_scope(scope)), f"the scope {scope}", route.model)


def _policy(scope_rbac: Json, needs: str, model: str | None) -> Json:
    metadata = {NEEDS: needs} | ({"model": model} if model else {})
    return {
        "metadata": {"filter_metadata": {METADATA: metadata}},
        "typed_per_filter_config": {SCOPE_RBAC: scope_rbac},
    }


# --- clusters -------------------------------------------------------------------------------------


def _cluster_name(route: Route) -> str:
    if route.model is None:
        return PORTAL
    return f"{route.model}-grpc" if route.grpc else route.model


def _jwks_cluster_name(issuer: Issuer) -> str:
    return f"jwks-{issuer.name}"


def _clusters(config: Config) -> list[Json]:
    clusters = [_cluster(PORTAL, LOOPBACK, config.portal.port, max_requests=256)]
    for name, model in config.models.items():
        clusters += _model_clusters(name, model)
    clusters += [_jwks_cluster(issuer) for issuer in config.issuers if issuer.keys.jwks_url]
    return clusters


def _model_clusters(name: str, model: Model) -> list[Json]:
    upstream, most = model.upstream, model.max_requests
    clusters = [_cluster(name, upstream.host, upstream.http_port, max_requests=most)]
    if upstream.grpc_port is not None:
        clusters.append(
            _cluster(f"{name}-grpc", upstream.host, upstream.grpc_port, max_requests=most, h2=True)
        )
    return clusters


def _cluster(name: str, host: str, port: int, *, max_requests: int, h2: bool = False) -> Json:
    threshold = {
        # Never what a request waits for: it would wait here, unseen, where the model's queue has a deadline.
        "max_connections": 1 << 20,
        "max_pending_requests": max_requests,
        "max_requests": max_requests,
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3},
    }
    protocol: Json = {"http2_protocol_options": {}} if h2 else {"http_protocol_options": {}}
    # uvicorn closes a connection that was idle for 5 s; a request sent at that very moment would be lost, and
    # a POST may not be sent again. So ours are closed first.
    idle = "300s" if h2 else "4s"
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": _endpoints(name, host, port),
        "circuit_breakers": {"thresholds": [threshold]},
        "outlier_detection": {
            "consecutive_5xx": 5,
            "consecutive_gateway_failure": 3,
            "split_external_local_origin_errors": True,
            "interval": "5s",
            "base_ejection_time": "15s",
            "max_ejection_percent": 50,
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 60}},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                _HTTP_OPTIONS,
                common_http_protocol_options={"idle_timeout": idle},
                explicit_http_config=protocol,
            )
        },
    }


def _jwks_cluster(issuer: Issuer) -> Json:
    url = urlsplit(issuer.keys.jwks_url or "")
    host = url.hostname or ""
    tls = url.scheme == "https"
    name = _jwks_cluster_name(issuer)
    cluster: Json = {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "load_assignment": _endpoints(name, host, url.port or (443 if tls else 80)),
    }
    if tls:
        trusted = {
            "trusted_ca": {"filename": str(issuer.keys.ca_file)},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
        }
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed(
                "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                sni=host,
                common_tls_context={"validation_context": trusted},
            ),
        }
    return cluster


def _endpoints(name: str, host: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
