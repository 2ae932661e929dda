"""The few shapes that Envoy's config is made of."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def typed(kind: str, **fields: Any) -> Json:
    return {"@type": f"type.googleapis.com/{kind}", **fields}


def seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


def address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def overwrite(key: str, value: str) -> Json:
    """A header that is there once and so, whatever was there before."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
