"""What gateway.yaml may say: the shape, its defaults and the rules one section can check alone.

Reading a file, and every rule that needs two sections or another file, is in `loading`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.values import (
    MOST,
    Audiences,
    BodyBytes,
    Delay,
    DnsLabel,
    EnvName,
    Host,
    ModelName,
    Origin,
    Port,
    Rate,
    Scope,
    Seconds,
    Text,
    is_inside,
    is_loopback,
    listen_address,
    parse_rate,
    web_address,
)

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]


class Section(BaseModel):
    """An unknown key is a mistake somewhere, and in a security policy no mistake may pass in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Section):
    """The certificate that callers see. Both files stand in one folder, which is watched: what is moved
    into it, or a Secret that Kubernetes renews there, is used from the next handshake."""

    cert_file: Path
    """PEM: the certificate, and behind it those that lead to its authority."""
    key_file: Path


class Listen(Section):
    """Where callers reach the gateway."""

    address: Annotated[str, AfterValidator(listen_address)] = "127.0.0.1"
    port: Port = 8080
    tls: Tls | None = None
    """With it this port speaks nothing but TLS (1.2 and 1.3)."""


class Monitoring(Section):
    """For Prometheus and probes: /metrics, /live, /ready, in plain HTTP, and nothing else. Off by default."""

    address: Annotated[str, AfterValidator(listen_address)] = "127.0.0.1"
    port: Port


class Drain(Section):
    """What SIGTERM begins; a second one ends it at once."""

    delay: Delay = 5
    """Still serving, no longer ready: the time in which whoever sends callers here learns of it."""
    grace: Delay = 60
    """Then for what is in flight; streams still open after it are cut."""


class Cors(Section):
    """Browsers' pages that may call the gateway. Off by default."""

    origins: Annotated[list[Origin], Field(min_length=1)]
    max_age: Seconds = 600
    """How long a browser remembers the answer to its preflight."""


class Admin(Section):
    """Envoy's admin interface. It has no login, so its address is loopback and cannot be configured."""

    port: Port = 9901


class Kubernetes(Section):
    """The cluster that the catalogue asks how its models are: a token that may list InferenceServices and
    Deployments of one namespace, as Kubernetes mounts and renews it."""

    namespace: DnsLabel
    selector: Text
    """Labels of what is ours there: app.kubernetes.io/instance=quintet."""
    api: str = "https://kubernetes.default.svc"
    token_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    ca_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")

    @model_validator(mode="after")
    def _asked_safely(self) -> Kubernetes:
        url = web_address(self.api)
        if url is None or self.api != f"{url.scheme}://{url.netloc}":
            raise ValueError("api must be scheme://host[:port] with nothing behind it")
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise ValueError("api must be https unless on loopback: it is sent a token")
        return self


class Portal(Section):
    """The gateway's own pages, on loopback behind Envoy."""

    port: Port = 9902
    kubernetes: Kubernetes | None = None
    """Without it the catalogue knows what predictors say of themselves, and no more."""


class Keys(Section):
    """Where an issuer's keys come from: shared secrets, a JWKS file or a JWKS address.

    Files are read again every second while the gateway runs; one that can no longer be used changes nothing.
    """

    secret_files: Annotated[list[Path], Field(max_length=8)] = []
    """Shared secrets for HS256, 32 bytes at least. All verify, so that a new one can be put beside the old;
    the first signs what `gateway token` mints."""
    secret_env: Annotated[list[EnvName], Field(max_length=8)] = []
    """Names of environment variables that hold further ones."""
    jwks_file: Path | None = None
    jwks_url: str | None = None
    refresh: Seconds = 300
    """How long fetched keys are used: after it a new key is known and a withdrawn one forgotten."""
    ca_file: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    """The authorities trusted for an https jwks_url."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Keys:
        named = [n for n in ("secret_files", "secret_env", "jwks_file", "jwks_url") if getattr(self, n)]
        if len(named) != 1 and named != ["secret_files", "secret_env"]:
            found = " and ".join(named) if named else "none of them"
            raise ValueError(
                f"give exactly one of secret_files (or secret_env), jwks_file, jwks_url (found {found})"
            )
        return self

    @property
    def symmetric(self) -> bool:
        return bool(self.secret_files or self.secret_env)

    @model_validator(mode="after")
    def _fetched_safely(self) -> Keys:
        if self.jwks_url is None:
            if idle := self.model_fields_set & {"refresh", "ca_file"}:
                raise ValueError(f"{' and '.join(sorted(idle))} is nothing without jwks_url")
            return self
        url = web_address(self.jwks_url)
        if url is None or url.fragment:
            raise ValueError("jwks_url must be an http(s) address without user or fragment")
        if url.scheme == "http" and not is_inside(url.hostname or ""):
            raise ValueError("jwks_url must be https unless on loopback or a Service of the cluster (*.svc)")
        return self


class Issuer(Section):
    """Someone whose tokens are believed, and how far."""

    name: DnsLabel
    issuer: Text
    audiences: Audiences
    """A token is for one of these at least, unless its model asks for an audience of its own."""
    keys: Keys
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] | None = None
    """Default: HS256 for shared secrets, otherwise RS256, ES256 and EdDSA."""
    max_lifetime: Seconds = 3600
    """A token that lives longer from now than this is refused, however it is signed."""
    clock_skew: Annotated[Seconds, Field(ge=1, le=300)] = 60
    """In whole seconds."""
    token_types: Annotated[list[Text], Field(min_length=1)] | None = None
    """The `typ` a token may have, such as at+jwt. Where one issuer signs other kinds too, this keeps an ID
    token from passing for an access token."""

    @model_validator(mode="after")
    def _algorithms_fit_keys(self) -> Issuer:
        # A public key that may also verify HS256 lets everyone who can read it mint tokens.
        symmetric = self.keys.symmetric
        wrong = [a for a in self.algorithms or () if (a == "HS256") != symmetric]
        if wrong:
            kind = "shared secrets" if symmetric else "public keys"
            raise ValueError(f"algorithms: {', '.join(wrong)} cannot be used with {kind}")
        return self

    @property
    def allowed_algorithms(self) -> tuple[Algorithm, ...]:
        if self.algorithms is not None:
            return tuple(dict.fromkeys(self.algorithms))
        return ("HS256",) if self.keys.symmetric else ("RS256", "ES256", "EdDSA")


class Upstream(Section):
    """Where the predictor listens."""

    host: Host
    http_port: Port = 80
    grpc_port: Port | None = 8081
    """null: this model has no gRPC."""


class Timeouts(Section):
    """How long a call may take, by the kind of its route."""

    unary: Seconds = 35
    """To the last byte. Longer than the 30 s of a predictor, which has more to say of a call that is late."""
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


class PerCaller(Section):
    """What one caller (issuer and subject) may ask of one model; each gateway process counts for itself."""

    rate: Annotated[Rate, BeforeValidator(parse_rate)] | None = None
    """Requests over every transport together."""
    burst: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """As many at once, after a pause; default: the rate's number."""
    streams: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Streams open at the same time."""

    @model_validator(mode="after")
    def _burst_of_a_rate(self) -> PerCaller:
        if self.burst is not None and self.rate is None:
            raise ValueError("burst is nothing without rate")
        return self


class Model(Section):
    """One predictor and its routes; its key in the file is its protocol name."""

    kubernetes_name: DnsLabel | None = None
    """Default: the protocol name with hyphens for underscores."""
    inference_service: DnsLabel | None = None
    """Its InferenceService in portal.kubernetes; default: the Kubernetes name."""
    node_kind: Text | None = None
    """What it is meant to run on, such as t4; the catalogue says so."""
    upstream: Upstream
    timeouts: Timeouts = Timeouts()
    max_requests: Annotated[int, Field(ge=1, le=MOST)] = 1024
    """Requests in flight to this model; beyond it the gateway itself answers 429, in under a millisecond."""
    max_body_bytes: BodyBytes | None = None
    """Default: that of limits."""
    per_caller: PerCaller | None = None
    """What it leaves out is that of limits; null takes a limit away."""
    audiences: Audiences | None = None
    """A token for this model must be for one of these, whoever issued it. Default: the issuer's audiences."""
    routes: list[DomainRoute] = []


class Limits(Section):
    max_body_bytes: BodyBytes = 4 << 20
    max_headers_kib: Annotated[int, Field(ge=8, le=96)] = 24
    max_headers: Annotated[int, Field(ge=20, le=1000)] = 100
    max_connections: Annotated[int, Field(ge=1, le=MOST)] = 10_000
    headers_timeout: Seconds = 10
    request_timeout: Seconds = 60
    """How long a caller may take to send the whole request."""
    idle_timeout: Seconds = 300
    """A connection on which nothing is asked for so long is closed."""
    per_caller: PerCaller = PerCaller()
    """For every model, as far as it says nothing else; each model is counted for itself."""


class Config(Section):
    listen: Listen = Listen()
    admin: Admin = Admin()
    portal: Portal = Portal()
    monitoring: Monitoring | None = None
    drain: Drain = Drain()
    cors: Cors | None = None
    issuers: Annotated[list[Issuer], Field(min_length=1)]
    models: Annotated[dict[ModelName, Model], Field(min_length=1)]
    limits: Limits = Limits()

    def kubernetes_name(self, model: str) -> str:
        return kubernetes_name(model, self.models[model])

    def inference_service(self, model: str) -> str:
        return self.models[model].inference_service or self.kubernetes_name(model)

    def max_body_bytes(self, model: str | None) -> int:
        """None: the gateway's own pages."""
        return (self.models[model].max_body_bytes if model else None) or self.limits.max_body_bytes

    def per_caller(self, model: str) -> PerCaller:
        """Those for all with the model's own laid over them; a burst belongs to its rate."""
        own = self.models[model].per_caller or PerCaller()
        said: dict[str, object] = {"burst": None} if "rate" in own.model_fields_set else {}
        said |= {name: getattr(own, name) for name in own.model_fields_set}
        return self.limits.per_caller.model_copy(update=said)

    def audiences(self) -> list[str]:
        """Every audience that some route asks for."""
        named = [*self.issuers, *self.models.values()]
        return list(dict.fromkeys(audience for one in named for audience in one.audiences or ()))


def kubernetes_name(name: str, model: Model) -> str:
    return model.kubernetes_name or name.replace("_", "-")


def bare_audience(audience: str) -> str:
    """As Envoy compares it: without the scheme and a trailing slash."""
    return audience.split("://", 1)[-1].rstrip("/")
