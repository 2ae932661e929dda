"""From our settings to vLLM's: pure, so that every combination can be looked at without starting it."""

from __future__ import annotations

from typing import Any

from predictors.runtime.errors import LoadError
from predictors.text_evaluator.evaluation import schema
from predictors.text_evaluator.settings import TextEvaluatorSettings

CPU_BLOCK = 32
"""vLLM's attention on a CPU takes blocks of this many tokens, or multiples of it."""

FP8_CAPABILITY, BF16_CAPABILITY = (8, 9), (8, 0)
"""CUDA's compute capability from which the products of such numbers are there."""

IN_ENGINE = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""The model in the scheduler's process, as it is with one card. On a CPU vLLM takes one more: the scheduler
turns while it waits for it, which takes a CPU, and OMP_NUM_THREADS is not heeded. ``uni`` means this class
too, but vllm/platforms/cpu.py replaces that word."""

BACKEND = {"backend": "guidance", "disable_any_whitespace": True}
"""vLLM's own choice lets raw control characters into strings that have a bound: not JSON."""


def environment(settings: TextEvaluatorSettings, cpus: int) -> dict[str, str]:
    """Variables that vLLM reads when it is imported; nothing of it calls home. ``cpus``: that we may use."""
    # Each sum waits for all its threads: where one has no CPU, as our own process has it, all stand still.
    threads = settings.threads or max(1, cpus - 1)
    return {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would copy locks that our threads hold
        "VLLM_CONFIGURE_LOGGING": "0",
        "VLLM_CPU_KVCACHE_SPACE": str(settings.cpu_cache_gib),
        "OMP_NUM_THREADS": str(threads),
    }


def choose_device(settings: TextEvaluatorSettings, capability: tuple[int, int] | None, cards: int = 1) -> str:
    """cpu or cuda. ``capability``: of the ``cards``, or None. Raises LoadError when settings ask for more."""
    if settings.device == "cuda" and capability is None:
        raise LoadError("QUINTET_DEVICE is cuda, and there is no card.")
    fp8 = "fp8" in (settings.quantization, settings.kv_cache_dtype)
    if capability is None or settings.device == "cpu":
        if fp8:
            raise LoadError("fp8 needs a card, and there is none.")
        if settings.tensor_parallel_size > 1:
            raise LoadError("TENSOR_PARALLEL_SIZE is for cards, and there is none.")
        return "cpu"
    if settings.tensor_parallel_size > cards:
        raise LoadError(f"TENSOR_PARALLEL_SIZE is {settings.tensor_parallel_size}; cards there are {cards}.")
    if fp8 and capability < FP8_CAPABILITY:
        raise LoadError("fp8 needs a card of compute capability 8.9 or newer (L4, L40, H100).")
    if settings.dtype == "bfloat16" and capability < BF16_CAPABILITY:
        raise LoadError("bfloat16 needs a card of compute capability 8.0 or newer; DTYPE may be float32.")
    return "cuda"


def engine_arguments(settings: TextEvaluatorSettings, device: str) -> dict[str, Any]:
    """``device``: cpu or cuda, decided."""
    arguments: dict[str, Any] = {
        "model": str(settings.model_dir),
        "served_model_name": "text_evaluator",
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "scheduling_policy": "priority",
        "dtype": settings.dtype,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "enable_prefix_caching": settings.enable_prefix_caching,
        "block_size": settings.block_size,
        "generation_config": "vllm",  # our settings say how to sample, not a file beside the weights
        "structured_outputs_config": BACKEND,
        "disable_log_stats": False,  # its metrics stand beside ours
        "enable_log_requests": False,  # pupils' texts
    }
    if device == "cpu":
        blocks = -(-settings.block_size // CPU_BLOCK)
        return {
            **arguments,
            "block_size": blocks * CPU_BLOCK,
            "enforce_eager": True,
            "distributed_executor_backend": IN_ENGINE,
        }
    arguments |= {
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "kv_cache_dtype": settings.kv_cache_dtype,
        "enforce_eager": settings.compilation_level == 0,
        "max_num_batched_tokens": max(2048, settings.max_model_len),
    }
    if settings.quantization != "none":
        arguments["quantization"] = settings.quantization
    return arguments


def sampling_arguments(settings: TextEvaluatorSettings, *, greedy: bool) -> dict[str, Any]:
    """As published; the schema is added by the engine."""
    return {
        "temperature": 0.0 if greedy else settings.temperature,
        "top_p": 1.0 if greedy else settings.top_p,
        "max_tokens": settings.max_tokens,
        "seed": settings.seed,
        "skip_special_tokens": True,
    }


def answer_schema(settings: TextEvaluatorSettings) -> dict[str, Any]:
    return schema(settings.max_feedback_chars)
