"""Where requests go: each model over HTTP/1.1 and h2c, the portal, and what Envoy itself asks: issuers for
their keys, this process over a socket in the run folder, and for monitoring its own admin."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.config import Config, Issuer, Model
from gateway.folder import RunFolder
from gateway.proto import Json, address, typed
from gateway.routes import PORTAL, Route
from gateway.values import is_ip

LOOPBACK = "127.0.0.1"
CONTROL = "control"
ADMIN = "admin"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_name(route: Route) -> str:
    if route.model is None:
        return PORTAL
    return f"{route.model}-grpc" if route.grpc else route.model


def jwks_cluster_name(issuer: Issuer) -> str:
    return f"jwks-{issuer.name}"


def clusters(config: Config, folder: RunFolder) -> list[Json]:
    found = [_cluster(PORTAL, LOOPBACK, config.portal.port, max_requests=256)]
    found.append(_local(CONTROL, {"pipe": {"path": str(folder.control)}}))
    if config.monitoring:
        found.append(_local(ADMIN, address(LOOPBACK, config.admin.port)))
    for name, model in config.models.items():
        found += _model_clusters(name, model)
    return found + [_jwks_cluster(issuer) for issuer in config.issuers if issuer.keys.jwks_url]


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
        "load_assignment": _endpoints(name, address(host, port)),
        "circuit_breakers": {"thresholds": [threshold]},
        "outlier_detection": {
            # A model's own 500 is about a request; 502, 503 and 504, and a replica that refuses or breaks off
            # connections, are about the replica. Not split by origin: then each connection that opens would
            # wipe out what was held against a replica that breaks every one of them off again.
            "consecutive_5xx": 20,
            "consecutive_gateway_failure": 3,
            "enforcing_consecutive_gateway_failure": 100,
            "interval": "5s",
            "base_ejection_time": "15s",
            "max_ejection_percent": 50,
        },
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},
            # Else Envoy gathers changes of health for a second, and an ejected replica gets calls meanwhile.
            "update_merge_window": "0s",
        },
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 60}},
        "typed_extension_protocol_options": _http_options(protocol, idle),
    }


def _jwks_cluster(issuer: Issuer) -> Json:
    url = urlsplit(issuer.keys.jwks_url or "")
    host = url.hostname or ""
    tls = url.scheme == "https"
    name = jwks_cluster_name(issuer)
    cluster: Json = {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "load_assignment": _endpoints(name, address(host, url.port or (443 if tls else 80))),
    }
    if tls:
        # A certificate names a host or an address, and the handshake names only hosts (RFC 6066 3).
        kind = "IP_ADDRESS" if is_ip(host) else "DNS"
        trusted = {
            "trusted_ca": {"filename": str(issuer.keys.ca_file)},
            "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": host}}],
        }
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed(
                "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                **({} if is_ip(host) else {"sni": host}),
                common_tls_context={"validation_context": trusted},
            ),
        }
    return cluster


def _local(name: str, at: Json) -> Json:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": _endpoints(name, at),
        "typed_extension_protocol_options": _http_options({"http_protocol_options": {}}, idle="4s"),
    }


def _http_options(protocol: Json, idle: str) -> Json:
    options = typed(
        _HTTP_OPTIONS,
        common_http_protocol_options={"idle_timeout": idle},
        explicit_http_config=protocol,
    )
    return {_HTTP_OPTIONS: options}


def _endpoints(name: str, at: Json) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}}]}]}
