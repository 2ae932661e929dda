"""Side by side on the CPU: gpt2's engine against what a user could run instead, at the published base size.

    python -m benchmarks.gpt2_engine [--rounds 5] [--threads 2] [--only ours,llama]

GPT-2 of 124 million random weights (speed does not depend on their values); 32 tokens in, 64 out, greedily.
The contenders take turns, round by round, so that a busy neighbour hits them alike; ratios are taken within a
round. llama.cpp runs in an environment of its own, which is built the first time (about six minutes).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from benchmarks import report
from benchmarks.added import CLIENTS_NOTE, HTTPX, over_http
from benchmarks.peers.gpt2_onnx import Loop
from benchmarks.servers import free_port, serving
from hack.demo_models import demo_checkpoint
from predictors.gpt2.artifact import FORMAT, MANIFEST, TOKENIZER, Artifact
from predictors.gpt2.engine.decoder import CHUNK, Model, TextDecoder, Work
from predictors.gpt2.engine.sampling import Sampling
from predictors.gpt2.engine.session import Session, footprint
from predictors.gpt2.shape import END_OF_TEXT, VOCAB
from predictors.gpt2.tokenizer import TextTokenizer
from predictors.runtime.decoding import decode
from tests.support.gpt2 import (
    run_everything,
    state_dict,
    transformers_model,
    write_artifact,
    write_vocabulary,
)

CACHE = Path.home() / ".cache" / "quintet" / "bench" / "gpt2"
LLAMA = ("llama-cpp-python==0.3.36", "gguf==0.19.0", "numpy")
PROMPT, NEW, STREAMS = 32, 64, 8
LONG = 128
CONTEXT = 512
OURS, LLAMA_CPP, ONNX = "ours", "llama.cpp Q8_0", "ONNX Runtime int8, past as inputs"
EAGER, NAIVE = "transformers generate, fp32", "the same, torch quantize_dynamic"
SHORT = {OURS: "ours", LLAMA_CPP: "llama", ONNX: "onnx", EAGER: "eager", NAIVE: "naive"}
GREEDY = Sampling(temperature=0, top_p=1, top_k=1, seed=None)


class Contender(Protocol):
    def __call__(self, streams: int, prompt: int, new: int) -> float:
        """Seconds for so many sequences together."""
        ...


CASES: Mapping[str, tuple[int, int, int]] = {
    "1 stream": (1, PROMPT, NEW),
    f"{STREAMS} streams": (STREAMS, PROMPT, NEW),
    f"prompt of {LONG}": (1, LONG, 1),
}
Seconds = Mapping[tuple[str, str], list[float]]


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description="gpt2's engine against its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default=",".join(SHORT.values()), help="contenders, by short names")
    options = parser.parse_args(arguments)
    chosen = [name for name, short in SHORT.items() if short in options.only.split(",")]

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    torch.set_num_threads(options.threads)
    CACHE.mkdir(parents=True, exist_ok=True)
    load_before = os.getloadavg()[0]
    print("making the model and the peers", flush=True)
    artifact = _artifact()
    warm, full = _in_a_child(_resident, artifact.folder, options.threads)
    with contextlib.ExitStack() as stack:
        model = _model(artifact, options.threads)
        contenders = _contenders(chosen, model, options.threads, stack)
        seconds = _race(contenders, options.rounds)
        joins = [_joined(model) for _ in range(options.rounds)]
    load = f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
    sections = [
        _setting(options, load),
        _speed_table(seconds, chosen),
        _joined_section(joins),
        _memory_section(artifact, warm, full),
        _over_http(options.rounds, options.threads),
    ]
    packages = ("openvino", "onnxruntime", "torch", "transformers", "numpy")
    path = report.write("gpt2_engine", "gpt2: the engine on the CPU", packages, sections)
    print(path.read_text(encoding="utf-8"))


# -- the contenders


def _artifact() -> Artifact:
    folder = CACHE / f"base-{FORMAT}"
    if not (folder / MANIFEST).is_file():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_artifact(partial, _state())
        (partial / "model").rename(folder)
        shutil.rmtree(partial)
    return Artifact(folder)


def _state() -> dict[str, torch.Tensor]:
    return state_dict(layers=12, hidden=768, context=1024)


def _model(artifact: Artifact, threads: int) -> Model:
    session = Session(artifact, threads=threads, slots=STREAMS, context=CONTEXT)
    session.warm_up()
    return Model("base", session, TextTokenizer(artifact.path(TOKENIZER)), artifact.checksum)


def _contenders(
    chosen: Sequence[str], model: Model, threads: int, stack: contextlib.ExitStack
) -> dict[str, Contender]:
    makers: dict[str, Callable[[], Contender]] = {
        OURS: lambda: _ours(model),
        LLAMA_CPP: lambda: stack.enter_context(_llama(threads)),
        ONNX: lambda: _onnx(threads),
        EAGER: lambda: _transformers(transformers_model(_state())),
        NAIVE: lambda: _transformers(_quantised(transformers_model(_state()))),
    }
    return {name: makers[name]() for name in chosen}


def _prompts(streams: int, length: int) -> np.ndarray:
    return (np.arange(length)[None, :] * 37 + np.arange(streams)[:, None]) % VOCAB


def _works(model: Model, streams: int, prompt: int, new: int) -> list[Work]:
    return [Work(model, ids, new, GREEDY) for ids in _prompts(streams, prompt).tolist()]


def _ours(model: Model) -> Contender:
    def run(streams: int, prompt: int, new: int) -> float:
        works = _works(model, streams, prompt, new)
        began = time.perf_counter()
        outcomes = decode(TextDecoder(), works)
        took = time.perf_counter() - began
        assert all(outcome.completion_tokens == new for outcome in outcomes), "a text ended early"
        return took

    return run


def _onnx(threads: int) -> Contender:
    loop = Loop(transformers_model(_state()), CACHE, threads)

    def run(streams: int, prompt: int, new: int) -> float:
        began = time.perf_counter()
        loop.generate(_prompts(streams, prompt), new)
        return time.perf_counter() - began

    return run


def _quantised(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    # As commonly written: the blocks' layers are not nn.Linear, so only the head becomes int8.
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)


def _transformers(model: Any) -> Contender:
    def run(streams: int, prompt: int, new: int) -> float:
        ids = torch.from_numpy(_prompts(streams, prompt))
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=new,
                max_new_tokens=new,
                pad_token_id=END_OF_TEXT,
            )
        return time.perf_counter() - began

    return run


@contextlib.contextmanager
def _llama(threads: int) -> Iterator[Contender]:
    python = CACHE / "llama" / "bin" / "python"
    if not python.exists():
        print(f"building {LLAMA[0]} (about six minutes)", flush=True)
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--python", sys.executable, str(CACHE / "llama")], check=True)
        subprocess.run([uv, "pip", "install", "--python", str(python), *LLAMA], check=True)
    script = Path(__file__).parent / "peers" / "gpt2_llama.py"
    write_vocabulary(CACHE)
    command = [str(python), str(script), str(CACHE), str(CACHE / "base.gguf"), str(threads)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    requests, answers = child.stdin, child.stdout

    def run(streams: int, prompt: int, new: int) -> float:
        requests.write(json.dumps({"streams": streams, "prompt": prompt, "new": new}) + "\n")
        requests.flush()
        return float(json.loads(answers.readline()))

    try:
        yield run
    finally:
        requests.close()
        child.wait(30)


# -- the measurements


def _race(contenders: Mapping[str, Contender], rounds: int) -> Seconds:
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for case, (streams, prompt, new) in CASES.items():
            for name, run in contenders.items():
                time.sleep(0.05)  # the threads of the one before may still be spinning for more work
                took = run(streams, prompt, new)
                if number:  # the first round warms up
                    seconds[case, name].append(took)
        print(f"round {number} of {rounds}", flush=True)
    return seconds


def _joined(model: Model) -> tuple[float, float]:
    """Seconds of a request for 12 tokens: alone, and when it joins seven that run for 128."""

    def finish(decoder: TextDecoder) -> float:
        (work,) = _works(model, 1, PROMPT, 12)
        began = time.perf_counter()
        handle = decoder.join(work)
        while not any(news.handle == handle and news.outcome for news in decoder.step()):
            pass
        return time.perf_counter() - began

    alone = finish(TextDecoder())
    decoder = TextDecoder()
    for work in _works(model, STREAMS - 1, PROMPT, 128):
        decoder.join(work)
    for _ in range(20):
        list(decoder.step())
    return alone, finish(decoder)


def _resident(folder: Path, threads: int) -> tuple[int, int]:
    """Bytes by which a process grows: loaded and warmed up, as it is served; when it has met everything."""

    def used() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = used()
    session = Session(Artifact(folder), threads=threads, slots=STREAMS, context=CONTEXT)
    session.warm_up()
    warm = used() - before
    run_everything(session)
    return warm, used() - before


def _in_a_child(function: Callable[..., tuple[int, int]], *arguments: object) -> tuple[int, int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _over_http(rounds: int, threads: int, calls: int = 100) -> str:
    """What ``v2 infer`` adds to the engine's own time, on the demo model."""
    folder = demo_checkpoint("gpt2")
    http = free_port()
    environment = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_HOST": "127.0.0.1",
        "QUINTET_HTTP_PORT": str(http),
        "QUINTET_GRPC_PORT": str(free_port()),
        "QUINTET_THREADS": str(threads),
        "QUINTET_DRAIN_DELAY": "0",
    }
    model = _model(Artifact(folder / "generate"), threads)
    text = "The king rode to the castle"

    def direct() -> None:
        decode(TextDecoder(), [Work(model, model.tokenizer.encode(text), 12, GREEDY)])

    inputs = [
        {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": [text]},
        {"name": "max_new_tokens", "shape": [1], "datatype": "INT64", "data": [12]},
        {"name": "temperature", "shape": [1], "datatype": "FP64", "data": [0]},
    ]
    address = f"http://127.0.0.1:{http}"
    body = json.dumps({"inputs": inputs}).encode()
    processors = sorted(os.sched_getaffinity(0))
    with serving(["-m", "predictors.gpt2"], f"{address}/v2/health/ready", environment, processors) as pid:
        measured, cpu = over_http(
            direct,
            address,
            "/v2/models/gpt2/infer",
            body,
            pid,
            rounds=rounds,
            calls=calls,
        )
    found = statistics.median(measured.added(HTTPX))
    return (
        f"## Over HTTP\n\nOne caller, `v2 infer` of twelve tokens, the demo model; {rounds} rounds of {calls}"
        f" calls, in turn call by call; caller and predictor share the processors. {CLIENTS_NOTE}\n\n"
        f"{measured.table()}\n{cpu} Wanted at the median, by {HTTPX}: at most 1 ms more."
        f" Found: {found:.2f} ms.\n"
    )


# -- the report


def _setting(options: argparse.Namespace, load: str) -> str:
    lines = [
        f"- {options.threads} threads, load average {load} (this run alone: {options.threads})",
        f"- GPT-2 of 12 layers of 768, tied head, random weights; {PROMPT} tokens in, {NEW} out, greedily",
        f"- {options.rounds} rounds; ratios are taken within a round: median, least and greatest",
        "- Rates include reading the prompts. llama.cpp reads those of several streams in one batch.",
        "",
    ]
    return "\n".join(lines)


def _speed_table(seconds: Seconds, chosen: Sequence[str]) -> str:
    def rate(case: str, name: str) -> str:
        streams, _, new = CASES[case]
        return f"{streams * new / statistics.median(seconds[case, name]):.0f}"

    def ours_against(case: str, name: str) -> str:
        pairs = zip(seconds[case, name], seconds[case, OURS], strict=True)
        return report.spread([theirs / ours for theirs, ours in pairs])

    one, many, reading = CASES
    columns = [
        "",
        f"{one}, tokens/s",
        "ours is times as fast",
        f"{many}, tokens/s",
        "ours is times as fast",
        f"{reading}, ms",
        "ours is times as fast",
    ]
    rows = []
    for name in chosen:
        row = [name]
        for case in (one, many):
            row += [rate(case, name), ours_against(case, name)]
        row += [f"{1000 * statistics.median(seconds[reading, name]):.1f}", ours_against(reading, name)]
        rows.append(row)
    wanted = (
        "Wanted: one stream level with the best peer (goal 1.5 times), eight streams 1.5 times ONNX Runtime's"
        " loop.\n"
    )
    return "## Speed\n\n" + report.table(columns, rows) + "\n" + wanted


def _memory_section(artifact: Artifact, warm: int, full: int) -> str:
    counted = footprint(artifact, slots=STREAMS, context=CONTEXT, tokens=CHUNK + STREAMS)
    return (
        f"## Memory\n\nFile of weights {artifact.size / 1e6:.1f} MB. Loaded and warmed up, the process is"
        f" {warm / 1e6:.0f} MB larger (wanted: at most 200, goal 130), and {full / 1e6:.0f} MB once every"
        f" number of rows was met and {STREAMS} sequences of {CONTEXT} tokens fill the cache; in both some"
        " 35 MB are the engine's code and pages of the file."
        f" QUINTET_MEMORY_MIB counts {counted / 1e6:.0f} MB for it.\n"
    )


def _joined_section(joins: Sequence[tuple[float, float]]) -> str:
    ratios = [joined / alone for alone, joined in joins]
    alone = statistics.median(alone for alone, _ in joins)
    return (
        "## A short request among long ones\n\n"
        f"{PROMPT} tokens in and 12 out take {1000 * alone:.0f} ms alone, and {report.spread(ratios)} times"
        f" that when they join {STREAMS - 1} requests for 128 tokens (wanted: at most 2).\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
