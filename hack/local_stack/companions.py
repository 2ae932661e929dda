"""What runs beside a predictor: for gpt4_nano, when Kafka is asked for, a broker and the consumer service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hack.local_stack.plan import PREFIX, Port, shared_settings

HOST = "127.0.0.1"
BROKER_PORT, CONTROLLER_PORT = 9092, 9093
TRITON_PORT, MONITORING_PORT = 9203, 9503
KAFKA = "kafka"
CONSUMER = "gpt4_nano-consumer"


@dataclass(frozen=True)
class Companion:
    name: str
    arguments: Sequence[str]
    """Of this Python."""
    settings: Mapping[str, str] | None
    """``QUINTET_*`` of this process; None for a program that is no predictor's."""
    ready: str | None
    """A URL that answers 200; None where whoever needs it waits for it."""


@dataclass(frozen=True)
class Companions:
    """Of one model: its processes, what the predictor must know of them, and the ports they take."""

    processes: Sequence[Companion] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    ports: Sequence[Port] = ()


def companions(model: str, environ: Mapping[str, str], folder: Path) -> Companions:
    """``KAFKA=1`` starts a broker; ``KAFKA_BOOTSTRAP_SERVERS`` names one that runs."""
    given = environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
    own = environ.get("KAFKA", "").lower() in {"1", "true", "yes"} and not given
    if model != "gpt4_nano" or not (given or own):
        return Companions()
    bootstrap = given or f"{HOST}:{BROKER_PORT}"
    kafka = {f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": bootstrap}
    consumer = Companion(
        CONSUMER,
        ["-m", "predictors.gpt4_nano.pipeline"],
        {
            **shared_settings(environ),
            **kafka,
            f"{PREFIX}HOST": HOST,
            f"{PREFIX}TRITON_URL": f"{HOST}:{TRITON_PORT}",
            f"{PREFIX}MONITORING_PORT": str(MONITORING_PORT),
        },
        f"http://{HOST}:{MONITORING_PORT}/health/ready",
    )
    broker = Companion(
        KAFKA,
        ["-m", "hack.kafka", str(folder / "kafka"), str(BROKER_PORT), str(CONTROLLER_PORT)],
        None,
        None,
    )
    ports = {"gpt4_nano (Triton)": TRITON_PORT, "gpt4_nano's consumer": MONITORING_PORT}
    if own:
        ports |= {"Kafka": BROKER_PORT, "Kafka (controller)": CONTROLLER_PORT}
    return Companions(
        [broker, consumer] if own else [consumer],
        {
            **kafka,
            f"{PREFIX}TRITON_GRPC_PORT": str(TRITON_PORT),
            f"{PREFIX}RESULTS_STORE": str(folder / "results.sqlite"),
        },
        [Port(number, HOST, wanted_by) for wanted_by, number in ports.items()],
    )
