"""Every engine against transformers' own DebertaV2Model, on random weights in the published format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from predictors.prompt_classifier.checkpoint import TARGETS, Checkpoint, load_checkpoint
from predictors.prompt_classifier.engine import ENGINES, build_engine, cpu
from predictors.prompt_classifier.engine.packed import PackedEngine
from predictors.prompt_classifier.engine.plans import choose, padded_plan
from predictors.prompt_classifier.engine.positions import bucket, rows_by_distance
from predictors.prompt_classifier.engine.schedule import chunks, like_lengths
from predictors.prompt_classifier.engine.weights import prepare
from predictors.runtime.errors import LoadError
from tests.support.checkpoints import write_random_checkpoint
from tests.support.deberta import Reference

LENGTHS = [1, 2, 3, 4, 64, 127, 128, 129, 130, 131, 255, 256, 257, 511, 512]
CPU_ENGINES = [name for name in ENGINES if name.startswith("cpu-")]
TOLERANCE = {"cpu-fp32": 1e-4, "cpu-bf16": 0.4, "cpu-int8": 1.5, "padded": 1e-4}
"""Largest error of a logit whose standard deviation is about 3 on the base-size weights. bf16 and int8 are
held to a mean as well (below); these bounds only say that nothing is broken."""


def supported(name: str) -> bool:
    return {"cpu-bf16": cpu.has_bf16, "cpu-int8": cpu.has_vnni}.get(name, lambda: True)()


def build(checkpoint: Checkpoint, name: str) -> PackedEngine:
    if name == "padded":  # the GPU's path, with the CPU in its place
        return PackedEngine(prepare(checkpoint), padded_plan(name, "cpu", torch.float32, threads=2))
    if not supported(name):
        pytest.skip(f"this CPU does not run {name}")
    return PackedEngine(prepare(checkpoint), choose(name, threads=2))


def prompts(checkpoint: Checkpoint, lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, checkpoint.shape.vocab, length) for length in lengths]


def mixed(count: int, seed: int = 0) -> list[int]:
    """Log-normal lengths of mean 65, at most 200."""
    lengths = np.random.default_rng(seed).lognormal(np.log(65) - 0.15, 0.55, count)
    return [int(length) for length in lengths.round().clip(1, 200)]


def decisions(logits: np.ndarray) -> np.ndarray:
    """The class each head with more than one would name: [n, 7]."""
    heads = np.split(logits, np.cumsum(list(TARGETS.values()))[:-1], axis=1)
    return np.stack([head.argmax(1) for head in heads if head.shape[1] > 1], axis=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("small")
    return load_checkpoint(write_random_checkpoint(folder, layers=2, hidden=128, vocab=300, seed=0))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("base")
    return load_checkpoint(write_random_checkpoint(folder, layers=12, hidden=768, vocab=2000, seed=0))


@pytest.mark.parametrize("name", [*CPU_ENGINES, "padded"])
def test_equals_transformers_at_every_length(small: Checkpoint, name: str) -> None:
    sequences = prompts(small, LENGTHS)
    error = np.abs(build(small, name).logits(sequences) - Reference(small).logits(sequences))
    assert error.max() < TOLERANCE[name]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*CPU_ENGINES, "padded"])
def test_base_size_equals_transformers_at_every_length(base: Checkpoint, name: str) -> None:
    sequences = prompts(base, LENGTHS)
    error = np.abs(build(base, name).logits(sequences) - Reference(base).logits(sequences))
    assert error.max() < TOLERANCE[name]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "rms", "flips"), [("cpu-bf16", 0.04, 2), ("cpu-int8", 0.25, 20)])
def test_low_precision_keeps_the_decisions(base: Checkpoint, name: str, rms: float, flips: int) -> None:
    """Of 700 decisions (100 prompts, 7 heads). Random weights decide by narrow margins: a trained model's
    logits lie much further apart, so these counts are an upper bound and no accuracy figure."""
    sequences = prompts(base, mixed(100))
    exact = build(base, "cpu-fp32").logits(sequences)
    logits = build(base, name).logits(sequences)
    assert np.sqrt(np.mean((logits - exact) ** 2)) < rms
    assert (decisions(logits) != decisions(exact)).sum() <= flips


@pytest.mark.parametrize(
    ("name", "tolerance"), [("cpu-fp32", 1e-5), ("cpu-bf16", 0.05), ("cpu-int8", 1e-5), ("padded", 1e-5)]
)
def test_a_batch_answers_as_single_prompts_do(small: Checkpoint, name: str, tolerance: float) -> None:
    engine = build(small, name)
    sequences = prompts(small, [*mixed(30), 512, 1, 300])
    batch = engine.logits(sequences)
    single = np.concatenate([engine.logits([sequence]) for sequence in sequences])
    np.testing.assert_allclose(batch, single, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", [*CPU_ENGINES, "padded"])
def test_rows_keep_the_order_of_the_sequences(small: Checkpoint, name: str) -> None:
    engine = build(small, name)
    sequences = prompts(small, mixed(40))
    order = np.random.default_rng(1).permutation(len(sequences))
    shuffled = engine.logits([sequences[index] for index in order])
    np.testing.assert_allclose(shuffled, engine.logits(sequences)[order], rtol=0, atol=0.05)


def test_answers_are_fp32_arrays_of_their_own(small: Checkpoint) -> None:
    engine = build(small, "cpu-fp32")
    first = engine.logits(prompts(small, [5, 9]))
    kept = first.copy()
    engine.logits(prompts(small, [7, 9], seed=1))
    assert first.dtype == np.float32
    assert first.shape == (2, sum(TARGETS.values()))
    np.testing.assert_array_equal(first, kept)
    assert engine.logits([]).shape == (0, sum(TARGETS.values()))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32])
def test_ids_of_any_integer_type(small: Checkpoint, dtype: type[np.integer]) -> None:
    engine = build(small, "cpu-fp32")
    sequences = prompts(small, [12, 3])
    np.testing.assert_array_equal(
        engine.logits([sequence.astype(dtype) for sequence in sequences]), engine.logits(sequences)
    )


def test_folded_norm_equals_norm_then_pool_then_heads(small: Checkpoint) -> None:
    """What mean pooling lets us skip: the affine part of the last LayerNorm, and nothing else."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(9, small.shape.hidden, generator=generator)
    name = f"backbone.encoder.layer.{small.shape.layers - 1}.output.LayerNorm"
    gain, bias = small.tensors[f"{name}.weight"], small.tensors[f"{name}.bias"]
    normal = torch.nn.functional.layer_norm(states, states.shape[1:], eps=1e-7)
    pooled = (normal * gain + bias).mean(0)
    expected = torch.cat(
        [
            small.tensors[f"head_{index}.fc.weight"] @ pooled + small.tensors[f"head_{index}.fc.bias"]
            for index in range(len(TARGETS))
        ]
    )
    heads = prepare(small).heads
    torch.testing.assert_close(heads.weight @ normal.mean(0) + heads.bias, expected, rtol=1e-5, atol=1e-5)


def test_buckets_are_those_of_transformers() -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distances = torch.arange(-511, 512)
    expected = make_log_bucket_position(distances, 256, 512).to(torch.int64)
    assert [bucket(int(distance), 256) for distance in distances] == expected.tolist()
    rows = rows_by_distance(256)
    assert rows.tolist() == (expected + 256).tolist()
    assert bucket(128, 256) == 128, "linear up to half the buckets"


def test_padding_rows_change_nothing(small: Checkpoint) -> None:
    """Lengths that share a padded group, against groups of one."""
    engine = build(small, "padded")
    sequences = prompts(small, [17, 32, 18, 31, 17, 1, 16, 33])
    together = engine.logits(sequences)
    alone = np.concatenate([engine.logits([sequence]) for sequence in sequences])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_half_precision_path_stays_finite(small: Checkpoint) -> None:
    """The GPU's plan in fp16, on the CPU: masks and softmax must not overflow."""
    engine = PackedEngine(prepare(small), padded_plan("half", "cpu", torch.float16, threads=2))
    sequences = prompts(small, [1, 5, 16, 17, 100, 512])
    error = np.abs(engine.logits(sequences) - Reference(small).logits(sequences))
    assert error.max() < 0.05


@pytest.mark.parametrize("lengths", [[], [512], [1] * 100, [300, 300, 300, 5], list(range(1, 200))])
@pytest.mark.parametrize("multiple", [1, 2, 16])
def test_chunks_hold_every_sequence_once(lengths: list[int], multiple: int) -> None:
    parts = chunks(lengths, 512, multiple)
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    assert all(part for part in parts)
    assert all(sum(lengths[index] for index in part) <= 512 or len(part) == 1 for part in parts)


def test_threads_that_take_chunks_get_the_same_answers(small: Checkpoint) -> None:
    sequences = prompts(small, mixed(60))
    one = PackedEngine(prepare(small), choose("cpu-fp32", threads=1)).logits(sequences)
    for threads in (2, 3):
        many = PackedEngine(prepare(small), choose("cpu-fp32", threads=threads)).logits(sequences)
        np.testing.assert_allclose(many, one, rtol=0, atol=1e-5)


def test_an_error_in_a_thread_reaches_the_caller(small: Checkpoint) -> None:
    engine = build(small, "cpu-fp32")
    sequences = prompts(small, mixed(60))
    with pytest.raises(IndexError):
        engine.logits([*sequences, np.array([1, small.shape.vocab, 2])])
    np.testing.assert_array_equal(engine.logits(sequences).shape, (60, 32))


@pytest.mark.parametrize("padded", [True, False])
def test_groups_keep_every_length_in_order_and_like_lengths_together(padded: bool) -> None:
    lengths = sorted([*mixed(100), 1, 2, 16, 17, 500, 512])
    groups = list(like_lengths(lengths, padded))
    assert [length for group in groups for length in group] == lengths
    for group in groups:
        assert group[-1] - group[0] < 16 if padded else group[-1] <= group[0] + max(8, group[0] // 4)


def test_unknown_engine_is_refused_with_the_names_there_are(small: Checkpoint) -> None:
    with pytest.raises(LoadError, match=r"'gpu'.*auto, cpu-fp32"):
        build_engine(small, engine="gpu", threads=1)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("cuda-fp16", "torch.cuda.is_available"), ("cpu-bf16", "has_bf16"), ("cpu-int8", "has_vnni")],
)
def test_an_engine_the_machine_cannot_run_is_refused(
    small: Checkpoint, monkeypatch: pytest.MonkeyPatch, name: str, lacking: str
) -> None:
    target: object = torch.cuda if lacking.startswith("torch") else cpu
    monkeypatch.setattr(target, lacking.rsplit(".", 1)[-1], lambda: False)
    with pytest.raises(LoadError, match=name):
        build_engine(small, engine=name, threads=1)


@pytest.mark.parametrize(("vnni", "expected"), [(True, "cpu-int8"), (False, "cpu-fp32")])
def test_auto_chooses_by_the_processor(monkeypatch: pytest.MonkeyPatch, vnni: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cpu, "has_vnni", lambda: vnni)
    assert choose("auto", threads=1).name == expected


def test_the_precision_setting_of_torch_is_put_back(small: Checkpoint) -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]
    build(small, "cpu-fp32").logits(prompts(small, [5]))
    assert torch.backends.mkldnn.matmul.fp32_precision == before  # pyright: ignore[reportAttributeAccessIssue]


def test_nothing_of_the_checkpoint_is_changed(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write_random_checkpoint(tmp_path, layers=1, hidden=64, vocab=120, seed=3))
    before = {key: tensor.clone() for key, tensor in checkpoint.tensors.items()}
    for name in ("cpu-fp32", "cpu-int8"):
        if supported(name):
            build(checkpoint, name).logits(prompts(checkpoint, [30, 8]))
    assert all(torch.equal(checkpoint.tensors[key], before[key]) for key in before)
