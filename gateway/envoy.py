"""Config -> Envoy bootstrap: a pure function, so that its whole result can be read in the golden files."""

from __future__ import annotations

from gateway.clusters import LOOPBACK, clusters
from gateway.config import Config, Limits
from gateway.folder import RunFolder
from gateway.listeners import CERTIFICATE, listeners
from gateway.proto import Json, address, typed
from gateway.stats import KEPT


def bootstrap(config: Config, folder: RunFolder) -> Json:
    return {
        "node": {"id": "quintet-gateway", "cluster": "quintet"},
        "admin": {"address": address(LOOPBACK, config.admin.port), "ignore_global_conn_limit": True},
        "overload_manager": _overload(config.limits),
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": [{"safe_regex": {"regex": r}} for r in KEPT]}}
        },
        "static_resources": {"listeners": listeners(config, folder), "clusters": clusters(config, folder)},
    }


def _overload(limits: Limits) -> Json:
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = typed(kind, max_active_downstream_connections=limits.max_connections)
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return {"resource_monitors": [{"name": name, "typed_config": config}]}


def certificate(cert_file: str, key_file: str, watched: str) -> Json:
    """What `RunFolder.certificate` says: where the files are, and that moving others there is a renewal."""
    files = {
        "certificate_chain": {"filename": cert_file},
        "private_key": {"filename": key_file},
        "watched_directory": {"path": watched},
    }
    kind = "envoy.extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [typed(kind, name=CERTIFICATE, tls_certificate=files)]}
