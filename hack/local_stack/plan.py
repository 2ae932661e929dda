"""Which models are asked for and what each process gets as its environment; nothing is read or started."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config
from hack.local_stack.errors import StackError

PREFIX = "QUINTET_"
OURS = {f"{PREFIX}CACHE"}
"""Variables for make and hack/, which a predictor would refuse as settings it does not know."""
AMBIGUOUS = {"MODEL_NAME"}
"""What the original services meant different things by: exported for one, it would stop another."""
FROM_CONFIG = ("HOST", "HTTP_PORT", "GRPC_PORT")
"""Settings that the gateway must know as well, so gateway/local.yaml says them for both."""
DEFAULTS = {"DRAIN_DELAY": "0"}
"""Nobody routes around a local process that is going away, so it need not linger."""


@dataclass(frozen=True)
class Port:
    number: int
    host: str
    wanted_by: str


@dataclass(frozen=True)
class PredictorPlan:
    model: str
    host: str
    http_port: int
    settings: Mapping[str, str]
    """``QUINTET_*`` of this process alone."""
    ports: Sequence[Port]

    @property
    def model_dir(self) -> Path | None:
        """The folder a person has named; None asks for the demo checkpoint."""
        given = self.settings.get(f"{PREFIX}MODEL_DIR")
        return Path(given) if given else None

    @property
    def registered(self) -> bool:
        """Whether the weights are in a registry: then there is no folder to name or to make."""
        return bool(self.settings.get(f"{PREFIX}MODEL_URI")) and self.model_dir is None

    @property
    def grace(self) -> float:
        """Seconds it takes at most to end; whether the setting makes sense is the predictor's to say."""
        try:
            return float(self.settings.get(f"{PREFIX}GRACE_PERIOD", 30.0))
        except ValueError:
            return 30.0


def choose(wanted: Iterable[str], known: Sequence[str]) -> list[str]:
    """The models to run, in the config's order; all of them when none is named."""
    names = [name.replace("-", "_") for text in wanted for name in text.replace(",", " ").split()]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise StackError(f"{name} is not a model in gateway/local.yaml; {hint}")
    return [name for name in known if not names or name in names]


def predictors(
    config: Config, known: Sequence[str], environ: Mapping[str, str], cwd: Path
) -> list[PredictorPlan]:
    plans: list[PredictorPlan] = []
    for model, entry in config.models.items():
        upstream = entry.upstream
        settings = {f"{PREFIX}{name}": value for name, value in DEFAULTS.items()}
        settings |= shared_settings(environ)
        settings |= own_settings(model, known, environ)
        if given := settings.get(f"{PREFIX}MODEL_DIR"):
            settings[f"{PREFIX}MODEL_DIR"] = str(cwd / Path(given).expanduser())
        settings |= {
            f"{PREFIX}HOST": upstream.host,
            f"{PREFIX}HTTP_PORT": str(upstream.http_port),
            f"{PREFIX}GRPC_PORT": str(upstream.grpc_port or 0),
        }
        ports = [Port(upstream.http_port, upstream.host, f"{model} (HTTP)")]
        if upstream.grpc_port:
            ports.append(Port(upstream.grpc_port, upstream.host, f"{model} (gRPC)"))
        plans.append(PredictorPlan(model, upstream.host, upstream.http_port, settings, ports))
    return plans


def gateway_ports(config: Config) -> list[Port]:
    return [
        Port(config.listen.port, config.listen.address, "the gateway"),
        Port(config.admin.port, "127.0.0.1", "the gateway (Envoy's admin)"),
        Port(config.portal.port, "127.0.0.1", "the gateway (portal)"),
    ]


def own_settings(model: str, known: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """``PROMPT_CLASSIFIER_LOG_LEVEL`` -> ``QUINTET_LOG_LEVEL``; the predictor judges whether it knows it."""
    found: dict[str, str] = {}
    for name, value in environ.items():
        # Where one model's name begins another's, the longer one is meant.
        owners = [other for other in known if name.startswith(f"{other.upper()}_")]
        if not owners or max(owners, key=len) != model:
            continue
        setting = name.removeprefix(f"{model.upper()}_")
        if setting in FROM_CONFIG:
            raise StackError(f"{name} has no effect here: gateway/local.yaml says where {model} listens")
        found[PREFIX + setting] = value
    return found


def shared_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """``QUINTET_LOG_LEVEL=DEBUG`` is for every predictor; what can only be one model's is refused."""
    shared = {name: value for name, value in environ.items() if name.startswith(PREFIX) and name not in OURS}
    for setting in ("MODEL_DIR", *FROM_CONFIG):
        if PREFIX + setting in shared:
            example = f"PROMPT_CLASSIFIER_{setting}" if setting == "MODEL_DIR" else "gateway/local.yaml"
            raise StackError(f"{PREFIX}{setting} would be every model's; say it for one, in {example}")
    return shared


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that every child shares: everything but our settings and what is ambiguous."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(PREFIX) and name not in AMBIGUOUS
    }
