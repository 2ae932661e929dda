"""The graph in OpenVINO: in 8 bits where the file says so, whatever shares a call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from predictors.multitask_nlp import onnx_reader
from predictors.multitask_nlp.artifact import GRAPH
from predictors.multitask_nlp.engine import Engine, bucket, chunks, options
from predictors.multitask_nlp.training.evaluation import reader
from predictors.multitask_nlp.training.export import export_fp32
from predictors.multitask_nlp.training.model import MultitaskModel
from predictors.runtime.cpus import available_cpus
from predictors.runtime.errors import LoadError
from predictors.runtime.openvino import core
from tests.support.multitask_nlp import LENGTH, small_encoder
from tests.support.servers import ROOT


def sequences(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, 120, n) for n in lengths]


def products(model: openvino.Model) -> list[str]:
    """The kernels that the linear layers of a graph get."""
    return kernels(core().compile_model(model, "CPU", options(threads=1)))


def kernels(compiled: openvino.CompiledModel) -> list[str]:
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    return [info["primitiveType"].value for info in infos if info["layerType"].value == "FullyConnected"]


def of_integers(kernel: str) -> bool:
    return kernel.lower().endswith("i8")


def test_linear_layers_are_products_of_integers(served: Path) -> None:
    kinds = products(onnx_reader.read(served / GRAPH, integers=True).model)
    assert len(kinds) - sum(map(of_integers, kinds)) == 2  # the heads' last ones
    assert len(kinds) == 2 * 6 + 3


def test_without_such_products_they_are_of_floats(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = []
    for can in (True, False):
        monkeypatch.setattr(onnx_reader, "multiplies_integers", lambda can=can: can)
        engines.append(Engine(served / GRAPH, threads=1))
    integers, floats = engines
    assert integers.dtype == "int8"
    assert floats.dtype in ("bf16", "f32")
    assert any(map(of_integers, kernels(integers._together.compiled)))
    assert not any(map(of_integers, kernels(floats._together.compiled)))
    given = sequences(17, 40)
    for ours, theirs in zip(floats.logits(given), integers.logits(given), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert not np.array_equal(a, b)
            np.testing.assert_allclose(a, b, atol=0.1 * max(1, np.ptp(b)))


def test_what_openvino_does_not_take_of_our_reading_is_said(
    served: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another version of it may not: the file is read all the same, and the log has the reason."""
    given = sequences(17, 40)
    exact = Engine(served / GRAPH, threads=1).logits(given)
    assert not caplog.messages

    def refused(node: object) -> None:
        raise RuntimeError("Check failed at place.cpp:1:\nno such operation.\n")

    monkeypatch.setattr(onnx_reader, "_multiply_and_scale", refused)
    engine = Engine(served / GRAPH, threads=1)
    (said,) = caplog.messages
    assert "model.quant.onnx is read without products of integers" in said
    assert "no such operation" in said
    assert engine.dtype in ("bf16", "f32")
    for ours, theirs in zip(engine.logits(given), exact, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=0.1 * max(1, np.ptp(b)))


@pytest.mark.parametrize(
    ("message", "said"),
    [("Exception from a.cpp:1\n\n  it is so.\n\n", "it is so"), ("", "RuntimeError")],
)
def test_a_reason_is_one_line(message: str, said: str) -> None:
    assert onnx_reader.reason(RuntimeError(message)) == said


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_as_many_as_asked_for(served: Path, threads: int) -> None:
    engine = Engine(served / GRAPH, threads)
    assert engine.threads == threads
    for requests, streams in ((engine._together, 1), (engine._alone, threads)):
        assert requests.compiled.get_property("INFERENCE_NUM_THREADS") == min(threads, available_cpus())
        assert requests.compiled.get_property("NUM_STREAMS") == streams


@pytest.mark.parametrize("every", [False, True])
def test_a_file_quantised_otherwise_is_read_too(tmp_path: Path, every: bool) -> None:
    """``every``: products of two activations too, which no scale by token can serve."""
    model = MultitaskModel(small_encoder("distilbert")).eval()
    export_fp32(model, tmp_path / "model.onnx")
    quantize_dynamic(
        tmp_path / "model.onnx",
        tmp_path / "quant.onnx",
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": not every},
    )
    kinds = products(onnx_reader.read(tmp_path / "quant.onnx", integers=True).model)
    assert any(map(of_integers, kinds)) != every
    given = sequences(3, 17, 40)
    found, exact = Engine(tmp_path / "quant.onnx", threads=1).logits(given), reader(model)(given)
    for ours, theirs in zip(found, exact, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert np.abs(a - b).max() < 0.2 * max(1, np.ptp(b))


def test_what_shares_a_call_does_not_matter(served: Path) -> None:
    engine = Engine(served / GRAPH, threads=2)
    given = sequences(2, 3, 17, 18, 40, 41, 64)
    for together, one in zip(engine.logits(given), given, strict=True):
        (alone,) = engine.logits([one])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a, b, atol=0.02 * max(1, np.ptp(b)))


SHAPES = """
import sys
from pathlib import Path
import numpy as np
from predictors.multitask_nlp.engine import Engine

engine = Engine(Path(sys.argv[1]), threads=1)
for length in range(2, 32):
    for rows in range(1, 31):
        engine._pass(engine._together, [np.full(length, 5)] * rows)
    if length in (16, 31):
        print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_every_new_shape(served: Path) -> None:
    """OpenVINO keeps kernels for each: of 900 the last 450 are to cost next to nothing."""
    run = subprocess.run(
        [sys.executable, "-c", SHAPES, str(served / GRAPH)], cwd=ROOT, capture_output=True, check=True
    )
    half, whole = map(int, run.stdout.split())
    assert whole - half < 60e6  # 300e6 if all are kept


def test_the_graph_says_what_it_takes(served: Path) -> None:
    engine = Engine(served / GRAPH, threads=1)
    assert (engine.longest, engine.vocabulary) == (LENGTH, 120)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(LoadError, match="is not a graph that OpenVINO can load"):
        Engine(tmp_path / "model.onnx", threads=1)


def test_chunks_hold_like_lengths_and_lose_nothing() -> None:
    lengths = [3, 200, 64, 5, 60, 62, 300, 4, 128]
    found = chunks(lengths, threads=4)
    assert sorted(index for chunk in found for index in chunk) == list(range(len(lengths)))
    for chunk in found:
        some = [lengths[index] for index in chunk]
        assert len(chunk) == 1 or max(some) * len(some) <= 206
        assert max(some) * len(some) - sum(some) <= 16
    kept = sorted(sorted(lengths[index] for index in chunk) for chunk in found)
    assert kept == [[3, 4, 5], [60, 62, 64], [128], [200], [300]]


def test_one_thread_takes_larger_chunks_than_several() -> None:
    assert [len(chunk) for chunk in chunks([64] * 8, threads=1)] == [8]
    assert [len(chunk) for chunk in chunks([64] * 8, threads=2)] == [4, 4]
    assert [len(chunk) for chunk in chunks([64] * 8, threads=64)] == [2, 2, 2, 2]


def test_buckets_are_few_and_near() -> None:
    found = [bucket(n) for n in (1, 16, 31, 33, 64, 65, 129, 512)]
    assert found == [1, 16, 31, 34, 64, 68, 136, 512]
    assert all(n <= bucket(n) <= n * 17 / 16 for n in range(1, 1025))
    assert len({bucket(n) for n in range(1, 513)}) < 100
