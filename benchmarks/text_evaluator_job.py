"""Two thousand texts as one job through the whole predictor, vLLM and demo checkpoint: rate and memory."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks import report
from hack import environments
from hack.demo_models import demo_checkpoint
from predictors.text_evaluator.demo.data import examples
from predictors.text_evaluator.engine.children import descendants
from tests.support.servers import Server, running

TEXTS, SAMPLES = 2000, 8
STARTING = 900


def main() -> None:
    checkpoint = os.environ.get("TEXT_EVALUATOR_CHECKPOINT") or str(demo_checkpoint("text_evaluator"))
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "QUINTET_MODEL_DIR": checkpoint,
            "QUINTET_STORE": f"sqlite:{folder}/jobs.db",
            "QUINTET_DEVICE": "cpu",
            "DTYPE": "float32",
            "QUINTET_TEMPERATURE": "0",
        }
        python = environments.python("text_evaluator")
        with running("predictors.text_evaluator", settings, python=python, seconds=STARTING) as server:
            rows, said = measure(server)
    text = report.table(("texts done", "seconds", "predictor MiB", "engine MiB"), rows)
    report.write(
        "text_evaluator_job",
        "text_evaluator: a job of two thousand texts",
        ("torch", "uvicorn"),
        [text, said],
    )


def measure(server: Server) -> tuple[list[tuple[int, str, str, str]], str]:
    """Memory after each eighth of the job, and in a sentence what became of the texts."""
    made = examples(TEXTS, "two thousand")
    items = [
        {"id_alumno": f"A{n}", "curso": one.curso, "consigna": one.consigna, "respuesta": one.respuesta}
        for n, one in enumerate(made)
    ]
    rows, marks = [sample(server, 0, 0.0)], {}
    with httpx.Client(base_url=server.url, timeout=120) as http:
        started = time.perf_counter()
        job = http.post("/evaluate", json={"items": items}).json()["job_id"]
        with http.stream("GET", f"/stream/{job}") as answer:
            for line in answer.iter_lines():
                data = json.loads(line[6:])["data"] if line.startswith("data: ") else {}
                for row in data.get("results", []):
                    if row["index"] in marks:
                        raise AssertionError(f"text {row['index']} came twice")
                    marks[row["index"]] = row["nota"]
                done = data.get("progress", {}).get("completed", 0)
                if done * SAMPLES // TEXTS >= len(rows):
                    rows.append(sample(server, done, time.perf_counter() - started))
                    print(rows[-1], flush=True)
        took = time.perf_counter() - started
    distance = sum(abs(nota - made[index].nota) for index, nota in marks.items()) / max(1, len(marks))
    said = (
        f"{len(marks)} of {TEXTS} texts have a mark, each once, {distance:.2f} from their own on average;"
        f" {TEXTS / took:.1f} texts/s.\n"
    )
    print(said)
    return rows, said


def sample(server: Server, done: int, seconds: float) -> tuple[int, str, str, str]:
    pid = server.process.pid
    engine = sum(_rss(child) for child in descendants(pid))
    return done, f"{seconds:.0f}", f"{_rss(pid):.0f}", f"{engine:.0f}"


def _rss(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
