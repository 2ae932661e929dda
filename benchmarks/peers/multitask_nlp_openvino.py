# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["openvino==2026.4.1", "nncf==3.4.0", "onnx>=1.20"]
# ///
"""OpenVINO's int8 in a process and an environment of its own, driven over its standard input.

    uv run --script multitask_nlp_openvino.py GRAPH.onnx MODEL.xml THREADS

The first time the fp32 graph is quantised by NNCF (its recipe for transformers, calibrated on random token
ids) and kept as MODEL.xml. Then one JSON object a line: ``{"name": ..., "batches": [[[id, ...], ...], ...]}``
makes known what there is to run, rows padded with 0; ``{"run": name, "repeats": n}`` is answered by the
median of the seconds it took.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import nncf  # pyright: ignore[reportMissingImports]
import numpy as np
import openvino  # pyright: ignore[reportMissingImports]

CALIBRATION, VOCABULARY = 32, 30_000


def main(graph: Path, kept: Path, threads: int) -> None:
    core = openvino.Core()
    if not kept.exists():
        openvino.save_model(quantised(core.read_model(graph)), kept)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(kept, "CPU", settings).create_infer_request()
    known: dict[str, list[dict[str, np.ndarray]]] = {}

    def run(name: str) -> float:
        begun = time.perf_counter()
        for batch in known[name]:
            request.infer(batch)
        return time.perf_counter() - begun

    say({"ready": openvino.get_version()})
    for line in sys.stdin:
        asked = json.loads(line)
        if "name" in asked:
            known[asked["name"]] = [inputs(np.array(rows, np.int64)) for rows in asked["batches"]]
        else:
            say({"seconds": statistics.median(run(asked["run"]) for _ in range(asked["repeats"]))})


def quantised(model: Any) -> Any:
    random = np.random.default_rng(0)
    calibration = nncf.Dataset(
        [inputs(random.integers(4, VOCABULARY, (1, 32 + 4 * n))) for n in range(CALIBRATION)]
    )
    return nncf.quantize(model, calibration, model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION)


def inputs(ids: np.ndarray) -> dict[str, np.ndarray]:
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}


def say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
