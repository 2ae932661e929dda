"""The metrics that are kept, and what each says: all that /metrics of the monitoring port has.

Envoy knows some thousands more; what nobody has described nobody watches, and each costs memory.
"""

from __future__ import annotations

#: Envoy's own names of what is kept, before it turns parts of them into labels.
KEPT = (
    r"http\.gateway\.downstream_rq_(total|active|xx|[1-5]xx|time|rx_reset|timeout|header_timeout)",
    r"http\.gateway\.downstream_cx_(total|active|protocol_error)",
    r"http\.gateway\.jwt_authn\.(allowed|denied|jwks_fetch_success|jwks_fetch_failed)",
    r"http\.gateway\.rbac\.(token|scope)\.(allowed|denied)",
    r"caller\.http_local_rate_limit\.(ok|rate_limited)",
    r"http\.gateway\.ext_authz\.streams\.(ok|denied|error)",
    r"cluster\.[^.]+\.upstream_rq_(total|active|[1-5]xx|time|timeout|retry|retry_success|pending_overflow)",
    r"cluster\.[^.]+\.upstream_cx_(active|connect_fail)",
    r"cluster\.[^.]+\.membership_(total|healthy)",
    r"cluster\.[^.]+\.outlier_detection\.ejections_(active|enforced_total)",
    r"listener\.gateway\.(ssl\.handshake|ssl\.connection_error|downstream_global_cx_overflow)",
    r".*sds\.certificate\.(update_success|key_rotation_failed)",
    r"server\.(live|uptime|memory_allocated|memory_physical_size|days_until_first_cert_expiring)",
)
