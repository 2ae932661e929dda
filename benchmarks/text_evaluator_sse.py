"""From a batch's commit to its bytes at the readers: 1, 64 and 500 of them on one job."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from predictors.runtime.main import main as serve
from predictors.text_evaluator.jobs import service
from predictors.text_evaluator.jobs.model import Event
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.predictor import TextEvaluator
from predictors.text_evaluator.settings import TextEvaluatorSettings
from tests.support.evaluator import RuleEngine
from tests.support.gemma import write_tokenizer
from tests.support.servers import Server, running

READERS = (1, 64, 500)
TEXTS = 400


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(folder / "model")
        settings = {
            "QUINTET_MODEL_DIR": str(folder / "model"),
            "QUINTET_STORE": f"sqlite:{folder}/jobs.db",
            "QUINTET_MAX_NUM_SEQS": "4",
            "RULE_SECONDS": "0.04",
            "DURABLE_LOG": str(folder / "durable"),
        }
        with running(__name__, settings) as server:
            for readers in READERS:
                (folder / "durable").write_text("")
                delays = asyncio.run(measure(server, readers, folder / "durable"))
                p50, p99 = statistics.median(delays), statistics.quantiles(delays, n=100)[98]
                rows.append((readers, f"{p50:.1f}", f"{p99:.1f}", f"{max(delays):.1f}"))
                print(rows[-1], flush=True)
    text = report.table(("readers", "p50 ms", "p99 ms", "longest ms"), rows)
    said = "Readers and server share the machine; a batch comes every 100 ms. Wanted: p99 of 100 ms at 64.\n"
    report.write(
        "text_evaluator_sse",
        "text_evaluator: from durable to the reader",
        ("uvicorn", "orjson"),
        [text, said],
    )


async def measure(server: Server, readers: int, log: Path) -> list[float]:
    """Delays in milliseconds of every event at every reader."""
    items = [
        {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": f"text {n}"} for n in range(TEXTS)
    ]
    body = json.dumps({"items": items}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    head = (
        f"POST /evaluate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    writer.write(head.encode() + b"\r\nconnection: close\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    job = json.loads(answer.split(b"\r\n\r\n", 1)[1])["job_id"]
    seen: list[tuple[int, float]] = []
    await asyncio.gather(*(follow(server.http_port, job, seen) for _ in range(readers)))
    lines = (await asyncio.to_thread(log.read_text)).splitlines()
    durable = {int(number): float(at) for number, at in map(str.split, lines)}
    first = min(at for number, at in seen if number)  # events of before a reader came are history, not delay
    return [1000 * (at - durable[number]) for number, at in seen if durable[number] >= first]


async def follow(port: int, job: str, seen: list[tuple[int, float]]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /stream/{job} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    while line := await reader.readline():
        if line.startswith(b"id: "):
            seen.append((int(line[4:]), time.monotonic()))
    writer.close()


class NotedStore(SqliteStore):
    """Writes down when an event was durable: in the store's own thread, whose commit has just returned."""

    def _publish(self, job_id: str, events: Sequence[Event] = ()) -> None:
        now = time.monotonic()
        super()._publish(job_id, events)
        with Path(os.environ["DURABLE_LOG"]).open("a") as file:
            file.writelines(f"{event.id} {now}\n" for event in events)


if __name__ == "__main__":
    service.make_store = lambda settings: NotedStore(settings.database)
    serve(TextEvaluatorSettings, lambda settings: TextEvaluator(settings, RuleEngine))
