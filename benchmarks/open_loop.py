"""Latency of prompt_classifier under an open load of 50, 70 and 90 % of its capacity."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.report import spread, table, write
from benchmarks.servers import ROOT, free_port, serving, wrk
from hack.demo_models import demo_checkpoint

ROUNDS = 5
SECONDS = 8
SHARES = (0.5, 0.7, 0.9)
SERVER_CPU, CLIENT_CPU = 0, 1
WORDS = (
    "write",
    "a",
    "short",
    "story",
    "about",
    "the",
    "history",
    "of",
    "trains",
    "and",
    "list",
    "three",
    "reasons",
)
PATH = "/v2/models/prompt_classifier/infer"


def main() -> None:
    kinds = {
        "all of 32 words": [_words(32)],
        "log-normal, mean 65 words, at most 200": [_words(n) for n in _lengths()],
    }
    rows, ratios = [], []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        environment = {
            "QUINTET_MODEL_DIR": str(demo_checkpoint("prompt_classifier")),
            "QUINTET_HOST": "127.0.0.1",
            "QUINTET_HTTP_PORT": str(port),
            "QUINTET_GRPC_PORT": "0",
            "QUINTET_DRAIN_DELAY": "0",
            "QUINTET_THREADS": "1",
        }
        address = f"http://127.0.0.1:{port}"
        module = ["-m", "predictors.prompt_classifier"]
        stack.enter_context(serving(module, f"{address}/v2/health/ready", environment, [SERVER_CPU]))
        for kind, prompts in kinds.items():
            capacities: list[float] = []
            runs: dict[float, list[dict[str, float]]] = {share: [] for share in SHARES}
            for _ in range(ROUNDS):
                # Capacity anew in each round: on a shared machine it moves, and a share of it must follow.
                bodies = [json.dumps(_body(prompt)) for prompt in prompts]
                load = wrk(address + PATH, bodies, connections=32, seconds=4, cpu=CLIENT_CPU, folder=folder)
                capacities.append(load.requests_per_second)
                for share in SHARES:
                    runs[share].append(_k6(address + PATH, prompts, capacities[-1] * share, folder))
            for share in SHARES:
                tails = [run["p(99)"] / run["med"] for run in runs[share]]
                if share == 0.7:
                    ratios.append(f"{kind}: {statistics.median(tails):.1f}")
                rows.append(
                    (
                        kind,
                        f"{share:.0%} of {statistics.median(capacities):.0f}/s",
                        *(
                            spread([run[name] for run in runs[share]], "{:.1f}")
                            for name in ("med", "p(95)", "p(99)")
                        ),
                        spread(tails, "{:.1f}"),
                        sum(int(run["dropped"]) for run in runs[share]),
                        sum(int(run["failed"]) for run in runs[share]),
                    )
                )
    setting = (
        f"k6, constant arrival rate, on processor {CLIENT_CPU}; the predictor with one thread on processor"
        f" {SERVER_CPU}, the demo checkpoint, one prompt a request; {ROUNDS} rounds of {SECONDS} s a rate."
        " Capacity: the same prompts by wrk with 32 connections in the same round. What is counted comes"
        " after 3 s of the same rate.\n"
    )
    columns = ("prompts", "rate", "p50 ms", "p95 ms", "p99 ms", "p99/p50", "dropped", "failed")
    verdict = f"Wanted at 70 %: p99/p50 at most 3. Found: {'; '.join(ratios)}.\n"
    packages = ("torch", "kserve", "uvicorn", "k6")
    title = "Latency under open load"
    path = write("open_loop", title, packages, [setting, table(columns, rows), verdict])
    print(path.read_text())


def _k6(url: str, prompts: list[str], rate: float, folder: Path) -> dict[str, float]:
    (folder / "prompts.json").write_text(json.dumps(prompts))
    summary = folder / "summary.json"
    variables = {
        "URL": url,
        "PROMPTS": str(folder / "prompts.json"),
        "RATE": str(rate),
        "DURATION": f"{SECONDS}s",
    }
    subprocess.run(
        [
            Path(sys.executable).parent / "k6",
            "run",
            "--quiet",
            "--summary-export",
            summary,
            ROOT / "benchmarks" / "open_loop.js",
        ],
        env={**os.environ, **variables, "K6_NO_USAGE_REPORT": "true"},
        check=True,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, [CLIENT_CPU]),
    )
    metrics = json.loads(summary.read_text())["metrics"]
    times = metrics["http_req_duration{scenario:open}"]
    dropped = metrics["dropped_iterations{scenario:open}"]["count"]
    return {
        **{key: times[key] for key in ("med", "p(95)", "p(99)")},
        "dropped": dropped,
        "failed": metrics["checks{scenario:open}"]["fails"],
    }


def _body(prompt: str) -> dict[str, object]:
    return {"inputs": [{"name": "prompt", "shape": [1], "datatype": "BYTES", "data": [prompt]}]}


def _lengths() -> list[int]:
    rng = np.random.default_rng(0)
    return np.clip(rng.lognormal(mean=3.95, sigma=0.7, size=100), 3, 200).astype(int).tolist()


def _words(count: int) -> str:
    return " ".join(WORDS[i % len(WORDS)] for i in range(count)) + "."


if __name__ == "__main__":
    main()
