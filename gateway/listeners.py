"""Where callers come in, with everything that is judged before a route is; and the port for monitoring.

Each setting that looks superfluous closes a hole that was measured on this version; the tests in
tests/gateway show every one of them on the real binary.
"""

from __future__ import annotations

from gateway.clusters import ADMIN
from gateway.config import Config, Cors, Monitoring
from gateway.folder import RunFolder
from gateway.limits import limit_filters
from gateway.policy import ISSUER_HEADER, JWT, SUBJECT_HEADER, allow, jwt_filter, strict_token
from gateway.proto import Json, address, seconds, typed
from gateway.replies import METADATA, local_reply_config
from gateway.routing import (
    PORTAL_HEADERS,
    SCOPE_RBAC,
    STREAM,
    STREAM_IDLE,
    TOKEN_RBAC,
    retries,
    routes,
)

#: Set by the gateway alone. Stripped before any filter runs, whatever the route.
OWN_HEADERS = (SUBJECT_HEADER, ISSUER_HEADER, "x-request-id", *PORTAL_HEADERS)
CERTIFICATE = "certificate"

_MANAGER = "envoy.filters.network.http_connection_manager"
_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def listeners(config: Config, folder: RunFolder) -> list[Json]:
    found = [_public(config, folder)]
    return [*found, _monitoring(config.monitoring)] if config.monitoring else found


# --- for callers ----------------------------------------------------------------------------------


def _public(config: Config, folder: RunFolder) -> Json:
    chain: Json = {"filters": [{"name": _MANAGER, "typed_config": _http_manager(config, folder)}]}
    if config.listen.tls:
        chain["transport_socket"] = _tls(folder)
        chain["transport_socket_connect_timeout"] = seconds(config.limits.headers_timeout)
    return {
        "name": "http",
        "stat_prefix": "gateway",
        "address": address(config.listen.address, config.listen.port),
        "per_connection_buffer_limit_bytes": 1 << 16,
        "filter_chains": [chain],
    }


def _tls(folder: RunFolder) -> Json:
    source = {"path_config_source": {"path": str(folder.certificate)}, "resource_api_version": "V3"}
    context = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [{"name": CERTIFICATE, "sds_config": source}],
    }
    kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed(kind, common_tls_context=context)}


def _http_manager(config: Config, folder: RunFolder) -> Json:
    limits = config.limits
    return typed(
        _HTTP,
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
            "idle_timeout": seconds(limits.idle_timeout),
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
        access_log=[_access_log(), *_ended_streams(config, folder)],
        http_filters=_filters(config),
        route_config={"name": "all", "virtual_hosts": [_virtual_host(config)]}
        # The token was for us. jwt_authn takes it off where it runs; this takes it off everywhere.
        | {"request_headers_to_remove": ["authorization"]},
    )


def _filters(config: Config) -> list[Json]:
    cors = typed("envoy.extensions.filters.http.cors.v3.Cors")
    router = typed("envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
    return [
        # Before the token, which a browser's preflight cannot have.
        *([{"name": "envoy.filters.http.cors", "typed_config": cors}] if config.cors else []),
        {"name": JWT, "typed_config": jwt_filter(config)},
        {"name": TOKEN_RBAC, "typed_config": allow("token", {"strict": strict_token(config.issuers)})},
        # No policy: denied, unless the route allows.
        {"name": SCOPE_RBAC, "typed_config": allow("scope", {})},
        # Behind the checks, so that nothing of a caller without a right is ever counted or held in memory.
        *limit_filters(config),
        {"name": "envoy.filters.http.router", "typed_config": router},
    ]


def _virtual_host(config: Config) -> Json:
    host: Json = {"name": "all", "domains": ["*"], "routes": routes(config), "retry_policy": retries()}
    if config.cors:
        host["typed_per_filter_config"] = {"envoy.filters.http.cors": _cors(config.cors)}
    return host


_SHOWN_TO_PAGES = (
    "x-request-id",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)


def _cors(cors: Cors) -> Json:
    return typed(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in cors.origins],
        allow_methods="GET, POST, PUT, PATCH, DELETE",
        allow_headers="authorization, content-type, idempotency-key, last-event-id",
        expose_headers=", ".join(_SHOWN_TO_PAGES),
        max_age=str(round(cors.max_age)),
        allow_credentials=False,
    )


def _access_log() -> Json:
    """One JSON line a request. The path is logged without its query, which is where tokens get lost."""
    fields = {
        "time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "issuer": f"%DYNAMIC_METADATA({JWT}:payload:iss)%",
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


def _ended_streams(config: Config, folder: RunFolder) -> list[Json]:
    """One line for each stream that is over: how the count of a caller's streams goes down again."""
    if not any(config.per_caller(name).streams for name in config.models):
        return []
    expression = typed(
        "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression=f"xds.route_name.startsWith('{STREAM}')",
    )
    log = typed(
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=str(folder.stream_ends),
        log_format={"text_format_source": {"inline_string": "%REQ(X-REQUEST-ID)%\n"}},
    )
    only = {
        "extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": expression}
    }
    return [{"name": "envoy.access_loggers.file", "filter": only, "typed_config": log}]


# --- for monitoring -------------------------------------------------------------------------------


def _monitoring(monitoring: Monitoring) -> Json:
    """Three paths, and not the rest of Envoy's admin, which can end it."""

    def admin(path: str, rewrite: str) -> Json:
        return {"match": _get(path), "route": {"cluster": ADMIN, "prefix_rewrite": rewrite, "timeout": "10s"}}

    table = [
        admin("/metrics", "/stats/prometheus"),
        admin("/ready", "/ready"),
        {"match": _get("/live"), "direct_response": {"status": 200, "body": {"inline_string": "LIVE\n"}}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]
    manager = typed(
        _HTTP,
        stat_prefix="monitoring",
        server_name="quintet",
        normalize_path=True,
        request_headers_timeout="5s",
        max_request_headers_kb=8,
        common_http_protocol_options={"idle_timeout": "120s", "max_headers_count": 50},
        http_filters=[
            {
                "name": "envoy.filters.http.router",
                "typed_config": typed("envoy.extensions.filters.http.router.v3.Router"),
            }
        ],
        route_config={"virtual_hosts": [{"name": "monitoring", "domains": ["*"], "routes": table}]},
    )
    return {
        "name": "monitoring",
        "stat_prefix": "monitoring",
        "address": address(monitoring.address, monitoring.port),
        # A flood of callers must not look like a process that is not alive.
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [{"name": _MANAGER, "typed_config": manager}]}],
    }


def _get(path: str) -> Json:
    return {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}
