"""Side by side on the CPU: multitask_nlp's engine against the exports a user could run instead.

    python -m benchmarks.multitask_nlp_engine [--rounds 7] [--threads 2]

DistilBERT of the published size with random weights (speed does not depend on their values). The contenders
take turns, round by round, so that a busy neighbour hits them alike; ratios are taken within a round.
NNCF's runs in a process and an environment of its own, which uv makes the first time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import DistilBertConfig, DistilBertModel

from benchmarks import report
from benchmarks.added import CLIENTS_NOTE, HTTPX, over_http
from benchmarks.mixes import Sequences, arrival_batches, budget_batches, natural_mix, prompts
from benchmarks.servers import ROOT, free_port, serving
from hack.demo_models import demo_checkpoint
from predictors.multitask_nlp import onnx_reader
from predictors.multitask_nlp.engine import Engine, options
from predictors.multitask_nlp.predictor import MultitaskNlp
from predictors.multitask_nlp.settings import MultitaskSettings
from predictors.multitask_nlp.tasks import Query
from predictors.multitask_nlp.training.export import export_fp32, export_int8
from predictors.multitask_nlp.training.model import MultitaskModel
from predictors.runtime.openvino import core

CACHE = Path.home() / ".cache" / "quintet" / "bench" / "multitask_nlp"
VOCABULARY, LENGTHS, MIX = 30_522, (16, 32, 64, 128, 256, 512), "mix"
REPEATS = {MIX: 1}
"""Of a case in a round; 5 of the others: they are over in milliseconds, and one hiccup should not decide."""

OURS, SORTED, ARRIVAL, NNCF = (
    "ours",
    "(a) ONNX Runtime",
    "(b) ONNX Runtime, arrival order",
    "(c) NNCF in OpenVINO",
)
CONTENDERS = {
    OURS: "the served graph in the served engine (OpenVINO; activations scaled by token, not calibrated)",
    SORTED: "transformers' export, quantize_dynamic; the mix sorted, at most 1024 padded tokens a batch",
    ARRIVAL: "the same, the mix in batches of 16 padded to their longest",
    NNCF: "the same export, quantised by NNCF, activations calibrated; the mix as in (a)",
}

Contender = Callable[[str, int], float]
"""Seconds of a case, the median of so many repeats."""
Seconds = Mapping[tuple[str, str], list[float]]

TEXT = "Anna Lind was delighted with the hotel in Lisbon."


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description="multitask_nlp's engine against its peers.")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds, after one to warm up")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    cpus = sorted(os.sched_getaffinity(0))[: options.threads]
    os.sched_setaffinity(0, cpus)
    plain, dynamic, ours = _graphs()
    cases = {f"1 x {n}": prompts([n], VOCABULARY, seed=n) for n in LENGTHS}
    cases[MIX] = natural_mix(100, VOCABULARY)
    load_before = os.getloadavg()[0]
    with _nncf(plain, cases, options.threads) as nncf:
        contenders: dict[str, Contender] = {
            OURS: _timed(Engine(ours, options.threads).logits, cases),
            SORTED: _timed(_onnx(dynamic, options.threads, budget_batches), cases),
            ARRIVAL: _timed(_onnx(dynamic, options.threads, arrival_batches), cases),
            NNCF: nncf,
        }
        seconds = _race(contenders, list(cases), options.rounds)
    load = f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
    sizes = {OURS: ours, SORTED: dynamic, NNCF: _kept_by_nncf().with_suffix(".bin")}
    sections = [
        _setting(options, cases[MIX], load),
        _speed_table(seconds, list(cases)),
        _verdict(seconds),
        _size_table(sizes),
        _http_section(cpus),
        _profile_table(ours, cases["1 x 128"]),
    ]
    packages = ("torch", "transformers", "openvino", "onnxruntime", "numpy", "kserve", "httpx")
    path = report.write("multitask_nlp_engine", "multitask_nlp: engines on the CPU", packages, sections)
    print(path.read_text(encoding="utf-8"))


def _graphs() -> tuple[Path, Path, Path]:
    """The fp32 export, ONNX Runtime's dynamic int8 of it, and ours; made the first time."""
    plain, dynamic, ours = (CACHE / name for name in ("fp32.onnx", "dynamic.onnx", "ours.onnx"))
    CACHE.mkdir(parents=True, exist_ok=True)
    print("making the graphs (a minute the first time)", flush=True)
    torch.manual_seed(0)
    model = MultitaskModel(DistilBertModel(DistilBertConfig(vocab_size=VOCABULARY))).eval()
    export_int8(model, ours)  # every time: what makes it may have changed since; the peers stay as they are
    if not dynamic.exists():
        export_fp32(model, plain)
        partial = dynamic.with_suffix(".partial")
        quantize_dynamic(plain, partial, weight_type=QuantType.QInt8)
        partial.rename(dynamic)
    return plain, dynamic, ours


def _timed(run: Callable[[Sequences], object], cases: Mapping[str, Sequences]) -> Contender:
    def seconds(case: str, repeats: int) -> float:
        took = []
        for _ in range(repeats):
            begun = time.perf_counter()
            run(cases[case])
            took.append(time.perf_counter() - begun)
        return statistics.median(took)

    return seconds


def _onnx(
    file: Path, threads: int, cut: Callable[[list[int]], list[list[int]]]
) -> Callable[[Sequences], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(sequences: Sequences) -> None:
        for ids in _padded(sequences, cut):
            session.run(None, {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)})

    return run


def _padded(sequences: Sequences, cut: Callable[[list[int]], list[list[int]]]) -> list[np.ndarray]:
    batches = []
    for rows in cut([len(ids) for ids in sequences]):
        batch = np.zeros((len(rows), max(len(sequences[row]) for row in rows)), np.int64)
        for place, row in enumerate(rows):
            batch[place, : len(sequences[row])] = sequences[row]
        batches.append(batch)
    return batches


def _kept_by_nncf() -> Path:
    return CACHE / "openvino.xml"


@contextlib.contextmanager
def _nncf(plain: Path, cases: Mapping[str, Sequences], threads: int) -> Iterator[Contender]:
    print("starting NNCF's graph in OpenVINO (minutes the first time)", flush=True)
    script = str(ROOT / "benchmarks" / "peers" / "multitask_nlp_openvino.py")
    uv = str(Path(sys.executable).with_name("uv"))
    process = subprocess.Popen(
        [uv, "run", "--quiet", "--script", script, str(plain), str(_kept_by_nncf()), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    questions, answers = process.stdin, process.stdout

    def ask(question: Mapping[str, object]) -> None:
        questions.write(json.dumps(question) + "\n")
        questions.flush()

    def answer(name: str) -> float | str:
        # NNCF and its libraries speak on the same pipe.
        for line in answers:
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and name in found:
                    return found[name]
        raise SystemExit("The process of NNCF's graph ended.")

    def seconds(case: str, repeats: int) -> float:
        ask({"run": case, "repeats": repeats})
        return float(answer("seconds"))

    try:
        print(f"OpenVINO {answer('ready')}", flush=True)
        for name, sequences in cases.items():
            ask({"name": name, "batches": [ids.tolist() for ids in _padded(sequences, budget_batches)]})
        yield seconds
    finally:
        questions.close()
        process.wait(30)


def _race(contenders: Mapping[str, Contender], cases: Sequence[str], rounds: int) -> Seconds:
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for round_ in range(rounds + 1):
        print(f"round {round_} of {rounds}{'' if round_ else ' (to warm up)'}", flush=True)
        for case in cases:
            for name, run in contenders.items():
                time.sleep(0.05)  # the threads of the one before may still be spinning for more work
                took = run(case, REPEATS.get(case, 5))
                if round_:
                    seconds[case, name].append(took)
    return seconds


def _setting(options: argparse.Namespace, mix: Sequences, load: str) -> str:
    lengths = [len(ids) for ids in mix]
    lines = [
        f"- {options.threads} threads, load average {load} (this run alone: {options.threads})",
        f"- Mix: {len(lengths)} texts of log-normal length, mean {np.mean(lengths):.0f}, max {max(lengths)}, "
        f"{sum(lengths)} tokens in all",
        f"- {options.rounds} rounds; ratios are taken within a round: median, least and greatest; int8 all",
        *(f"- {name}: {what}" for name, what in CONTENDERS.items()),
        "",
    ]
    return "\n".join(lines)


def _ratios(seconds: Seconds, case: str, name: str, to: str) -> list[float]:
    """Time of ``name`` over that of ``to``, round by round."""
    return [ours / theirs for ours, theirs in zip(seconds[case, name], seconds[case, to], strict=True)]


def _speed_table(seconds: Seconds, cases: Sequence[str]) -> str:
    rows = [
        [
            case,
            *(f"{1000 * statistics.median(seconds[case, name]):.1f}" for name in CONTENDERS),
            *(report.spread(_ratios(seconds, case, OURS, peer)) for peer in (SORTED, NNCF)),
        ]
        for case in cases
    ]
    columns = ["ms", *CONTENDERS, "ours to (a)", "ours to (c)"]
    return "## Speed\n\n" + report.table(columns, rows)


def _verdict(seconds: Seconds) -> str:
    onnx, nncf = (statistics.median(_ratios(seconds, "1 x 128", OURS, peer)) for peer in (SORTED, NNCF))
    peers = [min(times) for times in zip(*(seconds[MIX, peer] for peer in (SORTED, NNCF)), strict=True)]
    rate = statistics.median(theirs / ours for ours, theirs in zip(seconds[MIX, OURS], peers, strict=True))
    return (
        "Wanted: 1 x 128 in at most 0.8 of (a)'s time and level with (c), the mix at 1.3 times the rate of "
        f"the better peer. Found: {onnx:.2f}, {nncf:.2f}, {rate:.2f}.\n"
    )


def _size_table(files: Mapping[str, Path]) -> str:
    rows = [[name, f"{file.stat().st_size / 1e6:.1f}"] for name, file in files.items()]
    return "## Weights on the disk\n\nWanted: at most 67 MB.\n\n" + report.table(["", "MB"], rows)


def _http_section(cpus: Sequence[int], rounds: int = 7, calls: int = 200) -> str:
    """One caller, the demo checkpoint: a direct call and the route in turn."""
    folder = demo_checkpoint("multitask_nlp")
    direct = MultitaskNlp(MultitaskSettings(model_dir=folder, threads=len(cpus)))  # pyright: ignore[reportCallIssue]
    direct.load(lambda _: None)
    http = free_port()
    environment = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_HOST": "127.0.0.1",
        "QUINTET_HTTP_PORT": str(http),
        "QUINTET_GRPC_PORT": "0",
        "QUINTET_DRAIN_DELAY": "0",
    }
    address = f"http://127.0.0.1:{http}"
    body = json.dumps({"text": TEXT}).encode()
    with serving(["-m", "predictors.multitask_nlp"], f"{address}/v2/health/ready", environment, cpus) as pid:
        measured, cpu = over_http(
            lambda: direct.analyse([Query(("sentiment",), text=TEXT)]),
            address,
            "/predict/sentiment",
            body,
            pid,
            rounds=rounds,
            calls=calls,
        )
    return (
        f"## HTTP\n\nOne caller, a text of a dozen tokens, the demo checkpoint, /predict/sentiment; {rounds}"
        f" rounds of {calls} calls, in turn call by call; caller and predictor share the processors."
        f" {CLIENTS_NOTE}\n\n{measured.table()}\n{cpu} Wanted at the median, by {HTTPX}: at most 1 ms more."
        f" Found: {statistics.median(measured.added(HTTPX)):.2f} ms.\n"
    )


def _profile_table(file: Path, sequences: Sequences, passes: int = 50, shown: int = 10) -> str:
    """Of each operator the fastest of many passes: the others were interrupted."""
    model, _ = onnx_reader.read(file, integers=onnx_reader.multiplies_integers())
    settings = {**options(threads=1), "PERF_COUNT": True}
    request = core().compile_model(model, "CPU", settings).create_infer_request()
    ids = np.stack(sequences)
    fastest: dict[str, tuple[float, str]] = {}
    for _ in range(passes):
        request.infer({"input_ids": ids, "attention_mask": np.ones_like(ids)})
        for step in request.get_profiling_info():
            took = step.real_time.total_seconds()
            if took:
                before = fastest.get(step.node_name, (took, ""))[0]
                fastest[step.node_name] = (min(took, before), f"{step.node_type} ({step.exec_type})")
    spent: dict[str, list[float]] = defaultdict(list)
    for took, kind in fastest.values():
        spent[kind].append(took)
    total = sum(map(sum, spent.values()))
    largest = sorted(spent.items(), key=lambda item: -sum(item[1]))[:shown]
    rows = [[name, len(times), f"{100 * sum(times) / total:.1f} %"] for name, times in largest]
    title = "## Where the time of a pass goes (1 x 128, one thread, OpenVINO's profile)\n\n"
    return title + report.table(["operator (kernel)", "calls", "share"], rows)


if __name__ == "__main__":
    main(sys.argv[1:])
