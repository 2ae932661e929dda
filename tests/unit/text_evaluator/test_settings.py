"""Settings: the original's names, what contradicts itself, and what becomes of them in vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictors.runtime.errors import LoadError
from predictors.runtime.settings import SettingsError
from predictors.text_evaluator.engine.options import (
    IN_ENGINE,
    choose_device,
    engine_arguments,
    environment,
    sampling_arguments,
)
from predictors.text_evaluator.settings import TextEvaluatorSettings

T4, A100, L40 = (7, 5), (8, 0), (8, 9)
PROFILES = Path(__file__).parents[3] / "predictors" / "text_evaluator" / "profiles"


def settings_of(**values: object) -> TextEvaluatorSettings:
    return TextEvaluatorSettings.model_validate(values)


def read(monkeypatch: pytest.MonkeyPatch, **environ: str) -> TextEvaluatorSettings:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return TextEvaluatorSettings.from_environment()


def test_the_published_names_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        BATCH_SIZE="7",
        JOB_TTL_SECONDS="60",
        MAX_CONCURRENT_JOBS="3",
        CLEANUP_INTERVAL_SECONDS="5",
        TIME_ESTIMATION_PER_ITEM="1.5",
        MAX_MODEL_LEN="2048",
        GPU_MEMORY_UTILIZATION="0.8",
        MAX_NUM_SEQS="48",
        DTYPE="auto",
        BLOCK_SIZE="32",
        ENABLE_PREFIX_CACHING="false",
        TENSOR_PARALLEL_SIZE="2",
        COMPILATION_LEVEL="0",
    )
    assert (settings.batch_size, settings.job_ttl, settings.max_jobs, settings.cleanup_interval) == (
        7,
        60,
        3,
        5,
    )
    arguments = engine_arguments(settings, "cuda")
    assert arguments["max_model_len"] == 2048
    assert arguments["gpu_memory_utilization"] == 0.8
    assert (arguments["block_size"], arguments["tensor_parallel_size"]) == (32, 2)
    assert arguments["max_num_seqs"] == 48
    assert (arguments["enable_prefix_caching"], arguments["enforce_eager"]) == (False, True)


def test_sampling_is_as_published() -> None:
    sampling = sampling_arguments(settings_of(), greedy=False)
    assert (sampling["temperature"], sampling["top_p"], sampling["max_tokens"]) == (0.1, 0.95, 200)
    assert sampling["seed"] is None


@pytest.mark.parametrize("greedy", [False, True])
def test_a_seed_is_the_draws(*, greedy: bool) -> None:
    assert sampling_arguments(settings_of(seed=7), greedy=greedy)["seed"] == 7


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MAX_MODEL_LEN": "256"}, "MAX_TOKENS"),
        ({"QUINTET_DEVICE": "cpu", "QUINTET_QUANTIZATION": "fp8"}, "fp8 needs a GPU"),
        ({"QUINTET_DEVICE": "cpu", "QUINTET_KV_CACHE_DTYPE": "fp8"}, "fp8 needs a GPU"),
        ({"QUINTET_QUANTIZATION": "fp8", "DTYPE": "float32"}, "bfloat16"),
        ({"QUINTET_DEVICE": "cpu", "TENSOR_PARALLEL_SIZE": "2"}, "TENSOR_PARALLEL_SIZE is for GPUs"),
        ({"QUINTET_STORE": "mysql://x"}, "sqlite:PATH or redis"),
        ({"BATCH_SIZE": "0"}, "BATCH_SIZE"),
    ],
)
def test_what_contradicts_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        read(monkeypatch, **environ)


def of_profile(name: str, monkeypatch: pytest.MonkeyPatch) -> TextEvaluatorSettings:
    lines = (PROFILES / f"{name}.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return read(monkeypatch, **given)


def test_every_profile_is_known_here() -> None:
    assert {file.name for file in PROFILES.iterdir()} == {"cpu.env", "l40.env"}


def test_an_l40_has_eight_bits_its_share_of_the_card_and_no_more_texts_than_its_latency_bears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = of_profile("l40", monkeypatch)
    arguments = engine_arguments(settings, choose_device(settings, L40))
    assert (arguments["quantization"], arguments["kv_cache_dtype"], arguments["dtype"]) == (
        "fp8",
        "fp8",
        "bfloat16",
    )
    assert arguments["gpu_memory_utilization"] * 48 <= 22, "GB, of which the weights are ten"
    assert arguments["max_num_seqs"] == 32
    assert settings.max_batch_items < 32, "a part is left to jobs"


def test_a_cpu_computes_in_full_and_has_a_cache_of_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = of_profile("cpu", monkeypatch)
    arguments = engine_arguments(settings, choose_device(settings, L40))
    assert (arguments["dtype"], arguments["block_size"], arguments["enforce_eager"]) == ("float32", 32, True)
    assert arguments["distributed_executor_backend"] == IN_ENGINE
    assert "quantization" not in arguments
    assert settings.max_num_seqs == 8
    assert environment(settings, 2)["VLLM_CPU_KVCACHE_SPACE"] == "1"


def test_vllm_is_told_to_call_nobody_and_to_log_no_text() -> None:
    told = environment(settings_of(), 2)
    assert (told["HF_HUB_OFFLINE"], told["VLLM_NO_USAGE_STATS"]) == ("1", "1")
    assert engine_arguments(settings_of(), "cpu")["enable_log_requests"] is False


@pytest.mark.parametrize(
    ("values", "cpus", "threads"), [({}, 1, "1"), ({}, 2, "1"), ({}, 8, "7"), ({"threads": 8}, 8, "8")]
)
def test_one_cpu_is_left_to_those_who_do_not_compute(values: dict[str, int], cpus: int, threads: str) -> None:
    assert environment(settings_of(**values), cpus)["OMP_NUM_THREADS"] == threads


def test_blocks_on_a_cpu_are_multiples_of_what_its_attention_takes() -> None:
    sizes = {size: engine_arguments(settings_of(block_size=size), "cpu") for size in (1, 16, 32, 33)}
    assert {size: arguments["block_size"] for size, arguments in sizes.items()} == {
        1: 32,
        16: 32,
        32: 32,
        33: 64,
    }


def test_a_database_is_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    for store, path in (
        ("sqlite:", "/state/quintet/text_evaluator.db"),
        ("sqlite:jobs.db", "jobs.db"),
        ("sqlite:/data/jobs.db", "/data/jobs.db"),
        ("sqlite:///data/jobs.db", "/data/jobs.db"),
    ):
        assert settings_of(store=store).database == Path(path)


@pytest.mark.parametrize(
    ("values", "card", "device"),
    [
        ({}, None, "cpu"),
        ({}, L40, "cuda"),
        ({"device": "cpu"}, L40, "cpu"),
        ({"quantization": "fp8", "kv_cache_dtype": "fp8"}, L40, "cuda"),
        ({"dtype": "float32"}, T4, "cuda"),
        ({"dtype": "bfloat16"}, A100, "cuda"),
    ],
)
def test_where_it_runs(values: dict[str, str], card: tuple[int, int] | None, device: str) -> None:
    assert choose_device(settings_of(**values), card) == device


@pytest.mark.parametrize(
    ("values", "card", "said"),
    [
        ({"tensor_parallel_size": 2}, None, "TENSOR_PARALLEL_SIZE is for cards, and there is none"),
        ({"tensor_parallel_size": 2}, L40, "TENSOR_PARALLEL_SIZE is 2; cards there are 1"),
        ({"device": "cuda"}, None, "there is no card"),
        ({"quantization": "fp8"}, None, "fp8 needs a card, and there is none"),
        ({"quantization": "fp8"}, A100, "fp8 needs a card of compute capability 8.9"),
        ({"kv_cache_dtype": "fp8"}, T4, "fp8 needs a card of compute capability 8.9"),
        ({"dtype": "bfloat16"}, T4, "bfloat16 needs a card of compute capability 8.0"),
    ],
)
def test_what_the_card_cannot_do_is_refused(
    values: dict[str, str], card: tuple[int, int] | None, said: str
) -> None:
    with pytest.raises(LoadError, match=said):
        choose_device(settings_of(**values), card)


def test_a_model_may_have_as_many_cards_as_there_are() -> None:
    assert choose_device(settings_of(tensor_parallel_size=2), L40, cards=2) == "cuda"
