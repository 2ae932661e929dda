"""Side by side on the CPU: every engine of prompt_classifier against the peers a user could run instead.

    python -m benchmarks.prompt_classifier_engine

Base-size DeBERTa-v3 with random weights (speed does not depend on their values). The contenders take turns in
one process, round by round, so that a busy neighbour hits them alike; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from rich.console import Console
from rich.progress import Progress
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile

from benchmarks import report
from benchmarks.mixes import Sequences, arrival_batches, budget_batches, natural_mix, prompts
from predictors.prompt_classifier.checkpoint import TARGETS, Checkpoint, load_checkpoint
from predictors.prompt_classifier.engine import ENGINES, build_engine
from predictors.runtime.errors import LoadError
from tests.support.checkpoints import write_random_checkpoint
from tests.support.deberta import Reference

CACHE = Path.home() / ".cache" / "quintet" / "bench" / "prompt_classifier"
SEED, VOCAB, SINGLES = 0, 8000, (32, 128, 512)

EAGER = "(a) transformers eager, arrival order"
ARRIVAL = "(b) ONNX Runtime int8, arrival order"
SORTED = "(c) ONNX Runtime int8, sorted, token budget"
PEERS = {
    EAGER: "fp32, batches of 16 padded to their longest",
    ARRIVAL: "its own dynamic int8 of transformers' export, batches of 16 padded to their longest",
    SORTED: "the same, sorted by length, at most 1024 padded tokens a batch: the best peer known",
}

Contender = Callable[[Sequences], np.ndarray]
Seconds = Mapping[tuple[str, str], list[float]]


SPIN = "GOMP_SPINCOUNT"
"""How long OpenMP's threads spin at a barrier. The default, seconds under load, lets a single busy neighbour
slow torch tenfold and more; this much costs nothing on an idle machine."""


def main(arguments: Sequence[str] = ()) -> None:
    if SPIN not in os.environ:  # read when torch is loaded: too late for this process
        command = [sys.executable, "-m", "benchmarks.prompt_classifier_engine", *arguments]
        subprocess.run(command, env={**os.environ, SPIN: "10000"}, check=True)
        return
    parser = argparse.ArgumentParser(description="Engines of prompt_classifier against their peers.")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one to warm up")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    torch.set_num_threads(options.threads)
    console = Console()
    with console.status("Making the model and the peers (a minute the first time)"):
        checkpoint = load_checkpoint(_checkpoint_folder())
        contenders = {**_peers(checkpoint, options.threads), **_engines(checkpoint, options.threads)}
    mix = natural_mix(100, VOCAB)
    cases = {"mix": mix} | {f"1 x {length}": prompts([length], VOCAB, seed=length) for length in SINGLES}
    load_before = os.getloadavg()[0]
    with Progress(console=console) as progress:
        answers = _warm_up(contenders, cases, progress)
        seconds = _race(contenders, cases, options.rounds, progress)
    load = f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
    sections = [
        _setting(options, mix, load),
        _speed_table(seconds, contenders, list(cases)),
        _agreement_table(answers),
        _profile_table(checkpoint, options.threads, mix),
    ]
    packages = ("torch", "transformers", "onnxruntime", "numpy")
    path = report.write(
        "prompt_classifier_engine", "prompt_classifier: engines on the CPU", packages, sections
    )
    console.print(path.read_text(encoding="utf-8"), markup=False, highlight=False)


def _checkpoint_folder() -> Path:
    folder = CACHE / f"base-{VOCAB}-{SEED}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        write_random_checkpoint(partial, layers=12, hidden=768, vocab=VOCAB, seed=SEED)
        partial.rename(folder)
    return folder


def _engines(checkpoint: Checkpoint, threads: int) -> dict[str, Contender]:
    engines: dict[str, Contender] = {}
    for name in ENGINES:
        if name != "auto" and not name.startswith("cuda"):
            try:
                engines[f"ours, {name}"] = build_engine(checkpoint, engine=name, threads=threads).logits
            except LoadError as error:
                warnings.warn(str(error), stacklevel=2)
    return engines


def _peers(checkpoint: Checkpoint, threads: int) -> dict[str, Contender]:
    reference = Reference(checkpoint)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        _quantised_export(reference), options, providers=["CPUExecutionProvider"]
    )

    def eager(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return reference(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()

    def onnx(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])

    return {
        EAGER: _batched(eager, arrival_batches),
        ARRIVAL: _batched(onnx, arrival_batches),
        SORTED: _batched(onnx, budget_batches),
    }


def _quantised_export(reference: Reference) -> str:
    plain, quantised = CACHE / f"base-{VOCAB}-{SEED}.onnx", CACHE / f"base-{VOCAB}-{SEED}-int8.onnx"
    if not quantised.exists():
        ids = torch.randint(4, VOCAB, (2, 16))
        axes = {0: "batch", 1: "length"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's, about sizes that are constants here
            torch.onnx.export(
                reference,
                (ids, torch.ones_like(ids)),
                str(plain),
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}},
                opset_version=17,
                dynamo=False,
            )
        partial = quantised.with_suffix(".partial")
        quantize_dynamic(plain, partial, weight_type=QuantType.QInt8)
        partial.rename(quantised)
        plain.unlink()
    return str(quantised)


def _batched(
    run: Callable[[np.ndarray, np.ndarray], np.ndarray], cut: Callable[[list[int]], list[list[int]]]
) -> Contender:
    def logits(sequences: Sequences) -> np.ndarray:
        answers = np.empty((len(sequences), sum(TARGETS.values())), np.float32)
        for batch in cut([len(sequence) for sequence in sequences]):
            ids = np.zeros((len(batch), max(len(sequences[index]) for index in batch)), np.int64)
            mask = np.zeros_like(ids)
            for row, index in enumerate(batch):
                ids[row, : len(sequences[index])] = sequences[index]
                mask[row, : len(sequences[index])] = 1
            answers[batch] = run(ids, mask)
        return answers

    return logits


def _warm_up(
    contenders: Mapping[str, Contender], cases: Mapping[str, Sequences], progress: Progress
) -> dict[str, np.ndarray]:
    """Everyone sees every shape once; returns the logits of the mix."""
    task = progress.add_task("warm-up", total=len(contenders))
    answers = {}
    for name, run in contenders.items():
        answers[name] = run(cases["mix"])
        for sequences in cases.values():
            run(sequences)
        progress.advance(task)
    return answers


def _race(
    contenders: Mapping[str, Contender], cases: Mapping[str, Sequences], rounds: int, progress: Progress
) -> Seconds:
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    task = progress.add_task("rounds", total=rounds * len(cases) * len(contenders))
    for _ in range(rounds):
        for case, sequences in cases.items():
            for name, run in contenders.items():
                time.sleep(0.05)  # the threads of the one before may still be spinning for more work
                # A single prompt is over in milliseconds: several, so that one hiccup does not decide.
                repeats = 1 if case == "mix" else 5
                took = []
                for _ in range(repeats):
                    start = time.perf_counter()
                    run(sequences)
                    took.append(time.perf_counter() - start)
                seconds[case, name].append(statistics.median(took))
                progress.advance(task)
    return seconds


def _setting(options: argparse.Namespace, mix: Sequences, load: str) -> str:
    lengths = [len(sequence) for sequence in mix]
    lines = [
        f"- {options.threads} threads, {SPIN}={os.environ[SPIN]}, load average {load} (this run alone: "
        f"{options.threads})",
        f"- Base-size DeBERTa-v3 (12 layers, 768), random weights, vocabulary cut to {VOCAB}",
        f"- Mix: {len(lengths)} prompts of log-normal length, mean {np.mean(lengths):.0f}, "
        f"max {max(lengths)}, {sum(lengths)} tokens in all",
        f"- {options.rounds} rounds; ratios are taken within a round: median, least and greatest",
        *(f"- {name}: {what}" for name, what in PEERS.items()),
        *(f"- ours, {name}: {what}" for name, what in ENGINES.items() if name.startswith("cpu")),
        "",
    ]
    return "\n".join(lines)


def _speed_table(seconds: Seconds, contenders: Mapping[str, Contender], cases: list[str]) -> str:
    def against(case: str, name: str, peer: str) -> str:
        pairs = zip(seconds[case, peer], seconds[case, name], strict=True)
        return report.spread([theirs / ours for theirs, ours in pairs])

    def milliseconds(case: str, name: str) -> str:
        return f"{1000 * statistics.median(seconds[case, name]):.1f}"

    singles = [case for case in cases if case != "mix"]
    columns = ["", "mix, ms", "times as fast as (b)", "as (c)"]
    columns += [column for case in singles for column in (f"{case}, ms", "as (c)")]
    rows = []
    for name in contenders:
        row = [name, milliseconds("mix", name), against("mix", name, ARRIVAL), against("mix", name, SORTED)]
        for case in singles:
            row += [milliseconds(case, name), against(case, name, SORTED)]
        rows.append(row)
    return "## Speed\n\n" + report.table(columns, rows)


def _agreement_table(answers: Mapping[str, np.ndarray]) -> str:
    exact = answers[EAGER]
    cuts = np.cumsum(list(TARGETS.values()))[:-1]

    def decisions(logits: np.ndarray) -> np.ndarray:
        return np.stack([head.argmax(1) for head in np.split(logits, cuts, axis=1)], axis=1)

    count = sum(1 for size in TARGETS.values() if size > 1) * len(exact)
    rows = []
    for name, logits in answers.items():
        error = logits - exact
        flips = int((decisions(logits) != decisions(exact)).sum())
        rms = np.sqrt(np.mean(error**2))
        rows.append([name, f"{rms:.2g}", f"{np.abs(error).max():.2g}", f"{flips} of {count}"])
    return (
        f"## Agreement with (a) on the mix\n\nLogits have a standard deviation of {exact.std():.1f}. Random "
        "weights decide by narrow margins and have outlier channels put in: the counts compare formats "
        "and are no accuracy figures of a trained model.\n\n"
        + report.table(["", "rms error", "largest error", "decisions that differ"], rows)
    )


def _profile_table(checkpoint: Checkpoint, threads: int, mix: Sequences, shown: int = 10) -> str:
    engine = build_engine(checkpoint, engine="auto", threads=threads)
    engine.logits(mix)
    # The chunks run in the engine's own threads.
    everywhere = _ExperimentalConfig(profile_all_threads=True)
    with profile(activities=[ProfilerActivity.CPU], experimental_config=everywhere) as record:
        engine.logits(mix)
    events = sorted(record.key_averages(), key=lambda event: event.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    rows = [
        [event.key, event.count, f"{100 * event.self_cpu_time_total / total:.1f} %"]
        for event in events[:shown]
    ]
    return f"## Where the time of {engine.name} goes (mix, torch profiler)\n\n" + report.table(
        ["operator", "calls", "share"], rows
    )


if __name__ == "__main__":
    main(sys.argv[1:])
