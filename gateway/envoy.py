"""Config -> Envoy bootstrap: a pure function, so that its whole result can be read in the golden files.

Each setting that looks superfluous closes a hole that was measured on this version; the tests in
tests/gateway show every one of them on the real binary.
"""

from __future__ import annotations

from pathlib import Path

from gateway.clusters import LOOPBACK, cluster_name, clusters
from gateway.config import Config, Kind, Limits, Timeouts
from gateway.policy import JWT, SUBJECT_HEADER, allow, allow_on_route, has_scope, jwt_filter, strict_token
from gateway.proto import Json, address, overwrite, seconds, typed
from gateway.replies import METADATA, NEEDS, local_reply_config
from gateway.routes import Route, refused_methods, route_table

MODEL_METADATA = "quintet-model"
#: Set by the gateway alone. Stripped before any filter runs, whatever the route.
OWN_HEADERS = (SUBJECT_HEADER, "x-request-id")

TOKEN_RBAC = "quintet.token"
SCOPE_RBAC = "quintet.scope"

STREAM_IDLE = 300
SEGMENT = "[A-Za-z0-9._~-]+"


def bootstrap(config: Config, keys: Path) -> Json:
    """`keys` is the folder with one ``<issuer>.jwks.json`` for each issuer whose keys are not fetched."""
    return {
        "node": {"id": "quintet-gateway", "cluster": "quintet"},
        "admin": {"address": address(LOOPBACK, config.admin.port), "ignore_global_conn_limit": True},
        "overload_manager": _overload(config.limits),
        "static_resources": {"listeners": [_listener(config, keys)], "clusters": clusters(config)},
    }


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
        "address": address(config.listen.address, config.listen.port),
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
        stream_idle_timeout=seconds(STREAM_IDLE),
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
            {"name": JWT, "typed_config": jwt_filter(config, keys)},
            {"name": TOKEN_RBAC, "typed_config": allow("token", {"strict": strict_token(config.issuers)})},
            # No policy: denied, unless the route allows.
            {"name": SCOPE_RBAC, "typed_config": allow("scope", {})},
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
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": _routes(config), "retry_policy": _retries()}
            ],
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
    return _policy(allow_on_route("any", {"any": True}), "nothing more", None)


def _route(route: Route, config: Config) -> Json:
    match = _path_match(route)
    headers = [{"name": ":method", "string_match": {"exact": route.method}}]
    action: Json = {"cluster": cluster_name(route)}
    if route.grpc:
        match["grpc"] = {}
        headers.append({"name": MODEL_METADATA, "string_match": {"exact": route.model}})
    if route.rewrite is not None:
        action["prefix_rewrite"] = route.rewrite
    timeouts = config.models[route.model].timeouts if route.model else Timeouts(unary=5)
    action |= _timeouts(route.kind, timeouts)
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
    action = {"timeout": seconds(limit)}
    if limit >= STREAM_IDLE:
        # The idle timer also runs while a model thinks: it must not be what ends the call.
        action["idle_timeout"] = seconds(limit + 30)
    return action


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
    anyone = allow_on_route("open", {"any": True})
    policy = _policy(anyone, "nothing", route.model)
    policy["typed_per_filter_config"] |= {
        JWT: typed("envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", disabled=True),
        TOKEN_RBAC: anyone,
    }
    return policy


def _scoped(route: Route, scope: str) -> Json:
    return _policy(allow_on_route(scope, has_scope(scope)), f"the scope {scope}", route.model)


def _policy(scope_rbac: Json, needs: str, model: str | None) -> Json:
    metadata = {NEEDS: needs} | ({"model": model} if model else {})
    return {
        "metadata": {"filter_metadata": {METADATA: metadata}},
        "typed_per_filter_config": {SCOPE_RBAC: scope_rbac},
    }
