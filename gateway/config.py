"""What gateway.yaml may say: the shape, its defaults and the rules one section can check alone.

Reading a file, and every rule that needs two sections or another file, is in `loading`.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]

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


def _no_control_characters(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not hold control characters")
    return value


def _listen_address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=30 * 86400)]
Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_no_control_characters)]
DnsLabel = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)]
Scope = Annotated[str, Field(pattern=r"^[a-z]+:[a-z0-9_]+$")]


class Section(BaseModel):
    """An unknown key is a mistake somewhere, and in a security policy no mistake may pass in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(Section):
    """Where callers reach the gateway."""

    address: Annotated[str, AfterValidator(_listen_address)] = "127.0.0.1"
    port: Port = 8080


class Admin(Section):
    """Envoy's admin interface. It has no login, so its address is loopback and cannot be configured."""

    port: Port = 9901


class Portal(Section):
    """The gateway's own pages (for now /health), on loopback behind Envoy."""

    port: Port = 9902


class Keys(Section):
    """Where an issuer's keys come from: exactly one of the three."""

    secret_files: Annotated[list[Path], Field(max_length=8)] = []
    """Shared secrets for HS256, 32 bytes at least. All verify, so that a new one can be put beside the old;
    the first signs what `gateway token` mints."""
    jwks_file: Path | None = None
    jwks_url: str | None = None
    refresh: Seconds = 300
    """How long fetched keys are used: after it a new key is known and a withdrawn one forgotten."""
    ca_file: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    """The authorities trusted for an https jwks_url."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Keys:
        named = [n for n in ("secret_files", "jwks_file", "jwks_url") if getattr(self, n)]
        if len(named) != 1:
            found = " and ".join(named) if named else "none of them"
            raise ValueError(f"give exactly one of secret_files, jwks_file, jwks_url (found {found})")
        return self

    @model_validator(mode="after")
    def _fetched_safely(self) -> Keys:
        if self.jwks_url is None:
            return self
        url = urlsplit(self.jwks_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.fragment:
            raise ValueError("jwks_url must be an http(s) address without user or fragment")
        if url.scheme == "http" and not _is_inside(url.hostname):
            raise ValueError("jwks_url must be https unless on loopback or a Service of the cluster (*.svc)")
        return self


def _is_inside(host: str) -> bool:
    """Who can change the answer of a plain http address can mint tokens; these are out of others' reach."""
    if host == "localhost" or host.endswith((".svc", ".svc.cluster.local")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Issuer(Section):
    """Someone whose tokens are believed, and how far."""

    name: DnsLabel
    issuer: Text
    audiences: Annotated[list[Text], Field(min_length=1)]
    keys: Keys
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] | None = None
    """Default: HS256 for shared secrets, otherwise RS256, ES256 and EdDSA."""
    max_lifetime: Seconds = 3600
    """A token that lives longer from now than this is refused, however it is signed."""
    clock_skew: Annotated[Seconds, Field(le=300)] = 60

    @model_validator(mode="after")
    def _algorithms_fit_keys(self) -> Issuer:
        # A public key that may also verify HS256 lets everyone who can read it mint tokens.
        symmetric = bool(self.keys.secret_files)
        wrong = [a for a in self.algorithms or () if (a == "HS256") != symmetric]
        if wrong:
            kind = "secret_files" if symmetric else "public keys"
            raise ValueError(f"algorithms: {', '.join(wrong)} cannot be used with {kind}")
        return self

    @property
    def allowed_algorithms(self) -> tuple[Algorithm, ...]:
        if self.algorithms is not None:
            return tuple(dict.fromkeys(self.algorithms))
        return ("HS256",) if self.keys.secret_files else ("RS256", "ES256", "EdDSA")


class Upstream(Section):
    """Where the predictor listens."""

    host: Host
    http_port: Port = 80
    grpc_port: Port | None = 8081
    """null: this model has no gRPC."""


class Timeouts(Section):
    """How long a call may take, by the kind of its route."""

    unary: Seconds = 30
    job: Seconds = 10
    stream: Seconds = 900
    stream_idle: Seconds = 60
    """A stream that is silent for so long is cut; predictors send a heartbeat every 15 s at most."""


class Kind(StrEnum):
    UNARY = "unary"
    JOB = "job"
    STREAM = "stream"


class DomainRoute(Section):
    """A route that the model serves beside v1, v2 and gRPC. ``{name}`` stands for one path segment."""

    path: Annotated[str, Field(pattern=r"^(/([A-Za-z0-9._~:-]+|\{[a-z_]+\}))+$", max_length=256)]
    methods: Annotated[list[Literal["GET", "POST", "PUT", "PATCH", "DELETE"]], Field(min_length=1)] = ["POST"]
    scope: Scope | None = None
    """Default: infer:<model>."""
    kind: Kind = Kind.UNARY

    @model_validator(mode="after")
    def _is_normal(self) -> DomainRoute:
        if any(part in (".", "..") for part in self.path.split("/")):
            raise ValueError("path must not hold dot segments: they are resolved before a route is sought")
        return self


class Model(Section):
    """One predictor and its routes; its key in the file is its protocol name."""

    kubernetes_name: DnsLabel | None = None
    """Default: the protocol name with hyphens for underscores."""
    upstream: Upstream
    timeouts: Timeouts = Timeouts()
    max_requests: Annotated[int, Field(ge=1)] = 1024
    """Requests in flight to this model; beyond it the gateway itself answers 429, in under a millisecond."""
    routes: list[DomainRoute] = []


class Limits(Section):
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 4 << 20
    max_headers_kib: Annotated[int, Field(ge=8, le=96)] = 24
    max_headers: Annotated[int, Field(ge=20, le=1000)] = 100
    max_connections: Annotated[int, Field(ge=1)] = 10_000
    headers_timeout: Seconds = 10
    request_timeout: Seconds = 60
    """How long a caller may take to send the whole request."""


class Config(Section):
    listen: Listen = Listen()
    admin: Admin = Admin()
    portal: Portal = Portal()
    issuers: Annotated[list[Issuer], Field(min_length=1)]
    models: Annotated[dict[ModelName, Model], Field(min_length=1)]
    limits: Limits = Limits()

    def kubernetes_name(self, model: str) -> str:
        return kubernetes_name(model, self.models[model])


def kubernetes_name(name: str, model: Model) -> str:
    return model.kubernetes_name or name.replace("_", "-")
