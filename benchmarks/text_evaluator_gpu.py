"""``python benchmarks/text_evaluator_gpu.py``: what one card does with Gemma-2-9B's shape, in random weights.

Needs vLLM and a card, and nothing of this project; says so where one is missing. Runs unattended in under
eight minutes: 300 tokens in, 200 of them shared, 120 out, at several numbers of texts at a time; then 2,000
texts as fast as they go.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHARED, OWN, OUT = 200, 100, 120
AT_A_TIME = (8, 16, 32, 48)
SECONDS = 45
"""That each number of texts at a time is measured for."""
TEXTS = 2000

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


def main() -> int:
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
    asyncio.run(measure(fp8=fp8))
    return 0


async def measure(*, fp8: bool) -> None:
    import torch
    from vllm.engine.arg_utils import AsyncEngineArgs  # pyright: ignore[reportMissingImports]
    from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(GEMMA_2_9B))
        _, total = torch.cuda.mem_get_info()
        arguments: dict[str, Any] = {
            "model": folder,
            "load_format": "dummy",
            "skip_tokenizer_init": True,
            "max_model_len": 1024,
            "max_num_seqs": 128,
            "gpu_memory_utilization": min(0.9, 22e9 / total),  # the 22 GB that are promised
            "dtype": "bfloat16",
            "enable_prefix_caching": True,
        }
        if fp8:
            arguments |= {"quantization": "fp8", "kv_cache_dtype": "fp8"}
        started = time.perf_counter()
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        print(f"{'fp8' if fp8 else 'bf16'}: started in {time.perf_counter() - started:.0f} s", flush=True)
        await run(engine, 8, until=time.perf_counter() + 10)  # warm
        for at_a_time in AT_A_TIME:
            show(at_a_time, *await run(engine, at_a_time, until=time.perf_counter() + SECONDS))
        show(128, *await run(engine, 128, count=TEXTS))
        free, total = torch.cuda.mem_get_info()
        print(f"memory of the card in use: {(total - free) / 1e9:.1f} GB", flush=True)
        engine.shutdown()


def show(at_a_time: int, latencies: list[float], seconds: float) -> None:
    p95 = statistics.quantiles(latencies, n=20)[18]
    print(
        f"{at_a_time} at a time: {len(latencies)} texts in {seconds:.1f} s,"
        f" {len(latencies) / seconds:.1f} texts/s, p50 {statistics.median(latencies):.2f} s, p95 {p95:.2f} s",
        flush=True,
    )


async def run(
    engine: Any, at_a_time: int, *, until: float = float("inf"), count: int = 10**9
) -> tuple[list[float], float]:
    """Latencies of the texts that ended, and the time it took."""
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports]
    from vllm.sampling_params import RequestOutputKind  # pyright: ignore[reportMissingImports]

    sampling = SamplingParams(
        temperature=0.1,
        top_p=0.95,
        max_tokens=OUT,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    rng = random.Random(at_a_time)
    shared = [rng.randrange(10, 250_000) for _ in range(SHARED)]
    latencies: list[float] = []
    started, left = time.perf_counter(), count

    async def caller(name: int) -> None:
        nonlocal left
        while left > 0 and time.perf_counter() < until:
            left -= 1
            ids = shared + [rng.randrange(10, 250_000) for _ in range(OWN)]
            begun = time.perf_counter()
            async for _ in engine.generate({"prompt_token_ids": ids}, sampling, f"{name}-{begun}"):
                pass
            latencies.append(time.perf_counter() - begun)

    await asyncio.gather(*map(caller, range(at_a_time)))
    return latencies, time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
