"""The exported graphs say what the model says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from predictors.multitask_nlp.engine import OUTPUTS, Engine, Logits, chunks
from predictors.multitask_nlp.training import graph
from predictors.multitask_nlp.training.evaluation import reader
from predictors.multitask_nlp.training.export import export_fp32, export_int8
from predictors.multitask_nlp.training.model import MultitaskModel

ModelMaker = Callable[..., MultitaskModel]


def sequences() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, 120, n) for n in (2, 3, 17, 40, 41, 64)]


def far(ours: Logits, exact: Logits) -> float:
    """The greatest difference, as a share of the head's own range."""
    return max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in zip(ours[1:], exact[1:], strict=True))


def test_the_fp32_graph_is_the_model(make_model: ModelMaker, tmp_path: Path) -> None:
    model = make_model().eval()
    export_fp32(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [output.name for output in session.get_outputs()] == list(OUTPUTS)
    assert [output.shape for output in session.get_outputs()] == [
        ["batch", 2],
        ["batch", "length", 9],
        ["batch", "length"],
        ["batch", "length"],
    ]
    ids = np.array([[1, 5, 9, 2], [1, 7, 2, 0]])
    mask = (ids > 0).astype(np.int64)
    found = session.run(None, {"input_ids": ids, "attention_mask": mask})
    with torch.inference_mode():
        expected = model(torch.from_numpy(ids), torch.from_numpy(mask))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_the_int8_graph_is_close_in_any_mix_of_lengths(
    make_model: ModelMaker, tmp_path: Path, kind: str
) -> None:
    model = make_model(kind).eval()
    assert graph.supported(model)
    export_int8(model, tmp_path / "model.quant.onnx")
    engine = Engine(tmp_path / "model.quant.onnx", threads=2)
    for ours, exact in zip(engine.logits(sequences()), reader(model)(sequences()), strict=True):
        assert [a.shape for a in ours] == [b.shape for b in exact]
        assert far(ours, exact) < 0.06


def test_a_wrong_weight_in_the_graph_would_be_seen(make_model: ModelMaker, tmp_path: Path) -> None:
    """The bound above is no blank cheque: one layer's query weights exchanged go beyond it."""
    model = make_model().eval()
    export_int8(model, tmp_path / "model.quant.onnx")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer.1.attention.self.value.weight" in name:
                parameter.copy_(parameter.flip(0))
    engine = Engine(tmp_path / "model.quant.onnx", threads=1)
    pairs = zip(engine.logits(sequences()), reader(model)(sequences()), strict=True)
    assert max(far(ours, exact) for ours, exact in pairs) > 0.06


def test_an_encoder_of_another_kind_goes_through_the_exporter(
    make_model: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model().eval()
    monkeypatch.setattr(model.encoder.config, "hidden_act", "relu")
    assert not graph.supported(model)
    export_int8(model, tmp_path / "model.quant.onnx")
    engine = Engine(tmp_path / "model.quant.onnx", threads=1)
    for ours, exact in zip(engine.logits(sequences()), reader(model)(sequences()), strict=True):
        assert far(ours, exact) < 0.15


def test_chunks_hold_like_lengths_and_lose_nothing() -> None:
    lengths = [3, 200, 64, 5, 60, 62, 300, 4, 128]
    found = chunks(lengths)
    assert sorted(index for chunk in found for index in chunk) == list(range(len(lengths)))
    for chunk in found:
        some = [lengths[index] for index in chunk]
        assert len(chunk) == 1 or max(some) * len(some) <= 192
        assert sum(some) >= 0.9 * max(some) * len(some)
    assert [2, 5, 4] in [sorted(chunk, key=lambda i: -lengths[i]) for chunk in found]
