"""``python benchmarks/text_evaluator_gpu.py``: what one card does with Gemma-2-9B's shape, in random weights.

Needs vLLM and a card, and nothing of this project; says so where one is missing. Runs unattended and ends
within eight minutes: 300 tokens in, 200 of them shared, answers by the schema that serving asks for (some
120 tokens), at several numbers of texts at a time; then 2,000 texts as fast as they go, as far as the time
reaches. Says what it found of each claim, and exits with 1 where one does not hold.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import statistics
import string
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHARED, OWN = 200, 100
MAX_TOKENS = 200
AT_A_TIME = (8, 16, 32, 48)
SERVED = 32
"""Texts at a time that the profile for an L40 lets in; the claims are of these."""
SECONDS = 45.0
"""That each number of texts at a time is measured for, where the start has left so much."""
TEXTS = 2000
MEASURED, ENDED = 450.0, 480.0
"""Seconds from the start of the program: nothing is measured after the first, all is over at the second."""
P95_SECONDS, TEXTS_A_SECOND, GIGABYTES = 3.0, 5.0, 22.0
"""What is claimed for an L40."""

GEMMA_2_9B: dict[str, Any] = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "vocab_size": 256000,
    "hidden_size": 3584,
    "intermediate_size": 14336,
    "num_hidden_layers": 42,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "max_position_embeddings": 8192,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "torch_dtype": "bfloat16",
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
BACKEND = {"backend": "guidance", "disable_any_whitespace": True}
FEEDBACK_CHARS = 400
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "nota": {"type": "integer", "enum": [0, 1, 2, 3, 4, 5]},
        # Random weights know no end: always the longest.
        "feedback": {"type": "string", "minLength": FEEDBACK_CHARS, "maxLength": FEEDBACK_CHARS},
    },
    "required": ["nota", "feedback"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
}
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")


def main() -> int:
    began = time.perf_counter()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        import torch
        import vllm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        print(f"not measured: {error.name} is not installed here", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("not measured: there is no card here", file=sys.stderr)
        return 2
    print(f"{torch.cuda.get_device_name()}, vLLM {vllm.__version__}, torch {torch.__version__}", flush=True)
    fp8 = torch.cuda.get_device_capability() >= (8, 9) and "--bf16" not in sys.argv
    signal.signal(signal.SIGALRM, _over)
    signal.setitimer(signal.ITIMER_REAL, ENDED - (time.perf_counter() - began))
    try:
        measured = asyncio.run(measure(GEMMA_2_9B, began + MEASURED, fp8=fp8))
    except _Over:
        print(f"not measured: {ENDED:g} s were not enough", file=sys.stderr)
        return 2
    for claim, holds in measured.verdict():
        print(f"{'holds' if holds else 'FAILS'}: {claim}", flush=True)
    return 0 if all(holds for _, holds in measured.verdict()) else 1


class _Over(BaseException):
    """The time is over, whatever was under way."""


def _over(*_: object) -> None:
    raise _Over


@dataclass
class Run:
    """Texts of which ``at_a_time`` were in the engine; all that were begun, or up to the deadline."""

    at_a_time: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def p95(self) -> float:
        """Seconds; infinite where too few ended to tell."""
        return statistics.quantiles(self.latencies, n=20)[18] if len(self.latencies) >= 20 else float("inf")

    def __str__(self) -> str:
        if not self.latencies:
            return f"{self.at_a_time} at a time: not one text was through in {self.seconds:.1f} s"
        return (
            f"{self.at_a_time} at a time: {len(self.latencies)} texts in {self.seconds:.1f} s,"
            f" {self.rate:.1f} texts/s, p50 {statistics.median(self.latencies):.2f} s, p95 {self.p95:.2f} s,"
            f" {self.tokens / len(self.latencies):.0f} tokens out"
        )


@dataclass
class Measured:
    runs: list[Run]
    all_texts: Run
    gigabytes: float

    def verdict(self) -> Iterator[tuple[str, bool]]:
        """Each claim with the figure that was found, and whether it holds."""
        served = next((run for run in self.runs if run.at_a_time == SERVED), Run(SERVED))
        through = len(self.all_texts.latencies)
        yield f"P95 {served.p95:.2f} s < {P95_SECONDS:g} s, {SERVED} at a time", served.p95 < P95_SECONDS
        yield (
            f"{served.rate:.1f} texts/s >= {TEXTS_A_SECOND:g}, {SERVED} at a time",
            served.rate >= TEXTS_A_SECOND,
        )
        yield f"{self.gigabytes:.1f} GB < {GIGABYTES:g} GB of the card", self.gigabytes < GIGABYTES
        yield f"{through} of {TEXTS} texts were through", through == TEXTS


def share(left: float) -> float:
    """Seconds of each number of texts at a time, when ``left`` are left for all: half of it, for these."""
    return max(0.0, min(SECONDS, left / 2 / len(AT_A_TIME)))


async def measure(shape: dict[str, Any], deadline: float, *, fp8: bool) -> Measured:
    import torch
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports]
    from vllm.engine.arg_utils import AsyncEngineArgs  # pyright: ignore[reportMissingImports]
    from vllm.sampling_params import (  # pyright: ignore[reportMissingImports]
        RequestOutputKind,
        StructuredOutputsParams,
    )
    from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), shape)
        arguments: dict[str, Any] = {
            "model": folder,
            "load_format": "dummy",
            "max_model_len": 1024,
            "max_num_seqs": 128,
            "dtype": shape["torch_dtype"],
            "enable_prefix_caching": True,
            "structured_outputs_config": BACKEND,
        }
        if torch.cuda.is_available():
            _, total = torch.cuda.mem_get_info()
            arguments["gpu_memory_utilization"] = min(0.9, GIGABYTES * 0.95e9 / total)
        if fp8:
            arguments |= {"quantization": "fp8", "kv_cache_dtype": "fp8"}
        started = time.perf_counter()
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        try:
            print(f"{'fp8' if fp8 else 'bf16'}: started in {time.perf_counter() - started:.0f} s", flush=True)
            sampling = SamplingParams(
                temperature=0.1,
                top_p=0.95,
                max_tokens=MAX_TOKENS,
                output_kind=RequestOutputKind.FINAL_ONLY,
                structured_outputs=StructuredOutputsParams(json=SCHEMA),
            )
            return await measure_engine(engine, sampling, shape["vocab_size"], deadline)
        finally:
            engine.shutdown()


async def measure_engine(engine: Any, sampling: Any, vocabulary: int, deadline: float) -> Measured:
    import torch

    begun = time.perf_counter()
    await run(
        engine, sampling, vocabulary, 8, until=begun + min(10, share(deadline - begun)), deadline=deadline
    )
    each = share(deadline - time.perf_counter())
    runs = []
    for at_a_time in AT_A_TIME:
        until = time.perf_counter() + each
        runs.append(await run(engine, sampling, vocabulary, at_a_time, until=until, deadline=deadline))
        print(runs[-1], flush=True)
    all_texts = await run(engine, sampling, vocabulary, 128, count=TEXTS, deadline=deadline)
    print(all_texts, flush=True)
    if len(all_texts.latencies) < TEXTS:
        print(f"the time was over: {len(all_texts.latencies)} of {TEXTS} texts were through", flush=True)
    free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (0, 0)
    return Measured(runs, all_texts, (total - free) / 1e9)


async def run(
    engine: Any,
    sampling: Any,
    vocabulary: int,
    at_a_time: int,
    *,
    deadline: float,
    until: float = float("inf"),
    count: int = 10**9,
) -> Run:
    """Begins ``count`` texts, none after ``until``, and waits for none after the ``deadline``."""
    rng = random.Random(at_a_time)
    shared = [rng.randrange(300, vocabulary) for _ in range(SHARED)]
    begun = time.perf_counter()
    found, left = Run(at_a_time), count

    async def caller(name: int) -> None:
        nonlocal left
        while left > 0 and time.perf_counter() < until:
            left -= 1
            ids = shared + [rng.randrange(300, vocabulary) for _ in range(OWN)]
            asked, output = time.perf_counter(), None
            async for news in engine.generate({"prompt_token_ids": ids}, sampling, f"{name}-{asked}"):
                output = news
            found.latencies.append(time.perf_counter() - asked)
            found.tokens += len(output.outputs[0].token_ids) if output is not None else 0

    callers = [asyncio.create_task(caller(name)) for name in range(at_a_time)]
    _, late = await asyncio.wait(callers, timeout=max(0.0, deadline - begun))
    for task in late:
        task.cancel()
    for told in await asyncio.gather(*callers, return_exceptions=True):
        if isinstance(told, Exception):
            raise told
    found.seconds = time.perf_counter() - begun
    return found


def write_model(folder: Path, shape: dict[str, Any]) -> None:
    """config.json, and a tokenizer of the shape's size, which structured output asks what a token says."""
    pieces = {text: number for number, text in enumerate(_pieces(shape["vocab_size"]))}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": text, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for number, text in enumerate(SPECIAL)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": pieces,
            "merges": [],
        },
    }
    names = dict(zip(("pad_token", "eos_token", "bos_token", "unk_token"), SPECIAL, strict=True))
    (folder / "config.json").write_text(json.dumps(shape))
    (folder / "tokenizer.json").write_text(json.dumps(document))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, **names})
    )


def _pieces(size: int) -> list[str]:
    """``size`` different ones: bytes, what JSON needs, and four letters, as words' pieces have on average."""
    fixed = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), '{"', '":', "nota", "feedback", "▁"]
    words = ("".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=4))
    others = (word for word in words if word not in fixed)
    return list(
        itertools.islice(itertools.chain(fixed, string.printable[:95].replace(" ", ""), others), size)
    )


if __name__ == "__main__":
    sys.exit(main())
