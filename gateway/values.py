"""What a single value of gateway.yaml may be: durations, rates, names and addresses."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

#: Of whatever is counted; Envoy's own counters would hold a few thousand times as much.
MOST = 1_000_000
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> object:
    """``90``, ``1.5``, ``"30s"``, ``"15m"`` or ``"24h"`` in seconds."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError('a duration is a number of seconds or text such as "500ms", "30s", "15m", "24h"')
        return float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds, not true or false")
    return value


def no_control_characters(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not hold control characters")
    return value


def listen_address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
_HOST = re.compile(rf"{HOST}|[0-9a-f:.]+")  # urlsplit takes the brackets of an IPv6 address away
_RATE = re.compile(r"(\d+)/(s|m|h)")


def web_address(value: str) -> SplitResult | None:
    """None for what is no http(s) address, or one with a user in it."""
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and _HOST.fullmatch(url.hostname or "") and url.port != 0
    except ValueError:  # a port that is none, half a bracket
        return None
    plain = "@" not in url.netloc and not re.search(r"[^!-~]", value)
    return url if usable and plain else None


def _origin(value: str) -> str:
    url = web_address(value)
    if url is None or value.lower() != f"{url.scheme}://{url.netloc}".lower():
        raise ValueError("an origin is scheme://host[:port] with nothing behind it; a star is none")
    if value != value.lower():
        raise ValueError("an origin is in lower case: that is how browsers send theirs")
    if url.scheme == "http" and not is_inside(url.hostname or ""):
        raise ValueError(
            "an origin must be https unless on loopback: who can change its pages has its tokens"
        )
    return value


def is_inside(host: str) -> bool:
    """Who can change the answer of a plain http address can mint tokens; these are out of others' reach."""
    return is_loopback(host) or host.endswith((".svc", ".svc.cluster.local"))


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_ip(host) and ipaddress.ip_address(host).is_loopback)


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Rate(NamedTuple):
    requests: int
    seconds: int


def parse_rate(value: object) -> object:
    """``"10/s"``, ``"600/m"`` or ``"1000/h"``."""
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not 0 < int(match[1]) <= MOST:
        raise ValueError(f'a rate is text such as "10/s", "600/m" or "1000/h", and {MOST:,} at most')
    return Rate(int(match[1]), int(_UNITS[match[2]]))


#: Milliseconds are what Envoy is told; less would be 0, which it takes for no limit.
Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0.001, le=30 * 86400)]
Delay = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, le=3600)]
Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(no_control_characters)]
DnsLabel = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Host = Annotated[str, Field(pattern=HOST, max_length=253)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Scope = Annotated[str, Field(pattern=r"^[a-z]+:[a-z0-9_]+$")]


Audiences = Annotated[list[Text], Field(min_length=1, max_length=8)]
Origin = Annotated[str, AfterValidator(_origin)]
BodyBytes = Annotated[int, Field(ge=1024, le=1 << 30)]
