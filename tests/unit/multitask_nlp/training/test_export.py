"""The exported graphs say what the model says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from predictors.multitask_nlp.artifact import read_artifact
from predictors.multitask_nlp.engine import OUTPUTS, Engine, Logits
from predictors.multitask_nlp.training import graph
from predictors.multitask_nlp.training.encoders import NoEncoder
from predictors.multitask_nlp.training.evaluation import reader
from predictors.multitask_nlp.training.export import (
    WrongWeights,
    check_served,
    export_fp32,
    export_int8,
    export_weights,
)
from predictors.multitask_nlp.training.model import MultitaskModel
from tests.support.multitask_nlp import LENGTH, other_encoder, small_encoder, write_encoder

ModelMaker = Callable[..., MultitaskModel]


def sequences() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, 120, n) for n in (2, 3, 17, 40, 41, 64)]


def far(ours: Sequence[Logits], exact: Sequence[Logits]) -> float:
    """The greatest difference, as a share of its head's range over all sequences."""
    heads = [
        [np.concatenate([part.ravel() for part in head]) for head in zip(*found, strict=True)]
        for found in (ours, exact)
    ]
    return max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in zip(*heads, strict=True))


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
    found, exact = engine.logits(sequences()), reader(model)(sequences())
    assert [[a.shape for a in one] for one in found] == [[b.shape for b in one] for one in exact]
    assert far(found, exact) < 0.06


def test_the_int8_file_runs_in_onnx_runtime_too(make_model: ModelMaker, tmp_path: Path) -> None:
    model = make_model().eval()
    export_int8(model, tmp_path / "model.quant.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.quant.onnx")
    found = []
    for ids in sequences():
        inputs = {"input_ids": ids[None], "attention_mask": np.ones_like(ids)[None]}
        found.append(Logits(*(np.asarray(output)[0] for output in session.run(list(OUTPUTS), inputs))))
    assert far(found, reader(model)(sequences())) < 0.06


def test_a_wrong_weight_in_the_graph_would_be_seen(make_model: ModelMaker, tmp_path: Path) -> None:
    """The bound above is no blank cheque: one layer's query weights exchanged go beyond it."""
    model = make_model().eval()
    export_int8(model, tmp_path / "model.quant.onnx")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer.1.attention.self.value.weight" in name:
                parameter.copy_(parameter.flip(0))
    engine = Engine(tmp_path / "model.quant.onnx", threads=1)
    assert far(engine.logits(sequences()), reader(model)(sequences())) > 0.06


def test_an_encoder_of_another_kind_goes_through_the_exporter(
    make_model: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model().eval()
    monkeypatch.setattr(model.encoder.config, "hidden_act", "relu")
    assert not graph.supported(model)
    export_int8(model, tmp_path / "model.quant.onnx")
    engine = Engine(tmp_path / "model.quant.onnx", threads=1)
    assert far(engine.logits(sequences()), reader(model)(sequences())) < 0.15


@pytest.mark.parametrize("kind", ["roberta", "deberta-v2"])
def test_so_do_the_kinds_that_have_no_graph_of_ours(tmp_path: Path, kind: str) -> None:
    model = MultitaskModel(other_encoder(kind)).eval()
    check_served(model, kind, LENGTH)
    export_int8(model, tmp_path / "model.quant.onnx")
    engine = Engine(tmp_path / "model.quant.onnx", threads=1)
    assert far(engine.logits(sequences()), reader(model)(sequences())) < 0.15


def test_a_kind_that_cannot_be_served_is_one_sentence() -> None:
    """FNet's Fourier transforms are no operators of ONNX."""
    sentence = r"^The encoder mine \(fnet\) cannot be served: .*fft.* is not supported\.$"
    with pytest.raises(NoEncoder, match=sentence):
        check_served(MultitaskModel(other_encoder("fnet")), "mine", LENGTH)


def test_a_graph_as_the_original_published_it(make_model: ModelMaker, tmp_path: Path) -> None:
    """Quantised by ONNX Runtime to unsigned 8 bits, the sentiment output called logits."""
    model = make_model("distilbert").eval()
    export_fp32(model, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx")
    for node in graph.graph.node:
        node.output[:] = ["logits" if name == OUTPUTS[0] else name for name in node.output]
    graph.graph.output[0].name = "logits"
    onnx.save(graph, tmp_path / "model.onnx")
    quantize_dynamic(tmp_path / "model.onnx", tmp_path / "model.quant.onnx", weight_type=QuantType.QUInt8)
    engine = Engine(tmp_path / "model.quant.onnx", threads=1)
    assert far(engine.logits(sequences()), reader(model)(sequences())) < 0.15


PUBLISHED_HEADS = {
    "sentiment_head.0.weight": (32, 32),
    "sentiment_head.0.bias": (32,),
    "sentiment_head.3.weight": (2, 32),
    "sentiment_head.3.bias": (2,),
    "ner_head.1.weight": (9, 32),
    "ner_head.1.bias": (9,),
    "qa_head.weight": (2, 32),
    "qa_head.bias": (2,),
}
"""By the published names, as wide as the small encoder."""


def test_the_published_names_become_a_served_folder(tmp_path: Path) -> None:
    """A state dict as the original saved it: put together here, and not asked of our model."""
    encoder = small_encoder("distilbert")
    write_encoder(tmp_path / "encoder", encoder)
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    state |= {name: torch.randn(shape) for name, shape in PUBLISHED_HEADS.items()}
    torch.save(state, tmp_path / "model.pt")
    export_weights(tmp_path / "model.pt", str(tmp_path / "encoder"), 64, tmp_path / "served")
    model = MultitaskModel(encoder).eval()
    model.load_state_dict(state)
    engine = Engine(read_artifact(tmp_path / "served").graph, threads=1)
    assert far(engine.logits(sequences()), reader(model)(sequences())) < 0.06


def test_a_state_dict_becomes_a_served_folder(encoder_folder: Path, tmp_path: Path) -> None:
    model = MultitaskModel(small_encoder()).eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    export_weights(tmp_path / "model.pt", str(encoder_folder), 64, tmp_path / "served")
    artifact = read_artifact(tmp_path / "served")
    assert artifact.max_length == 64
    engine = Engine(artifact.graph, threads=1)
    assert far(engine.logits(sequences()), reader(model)(sequences())) < 0.06


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda state: state.pop("qa_head.bias"), "lacks qa_head.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "holds what this model does not have: extra"),
        (
            lambda state: state.update({"qa_head.bias": torch.zeros(3)}),
            r"of shape \[3\], expected \[2\]",
        ),
        (lambda state: state.update(step=3), "must hold tensors by name and nothing else"),
        (lambda state: state.update(path=Path()), "not a state dict that can be read safely"),
    ],
)
def test_weights_of_another_model_are_refused(
    encoder_folder: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    state = dict(MultitaskModel(small_encoder()).state_dict())
    spoil(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(WrongWeights, match=sentence):
        export_weights(tmp_path / "model.pt", str(encoder_folder), 64, tmp_path / "served")
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"u", b"X", b"PK\x03\x04", b"j\xa2\x14\r\x05", b"crO\xf9>"]
)
def test_a_file_of_any_other_kind_is_refused(encoder_folder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(WrongWeights, match=r"not a state dict that can be read safely: .+"):
        export_weights(tmp_path / "model.pt", str(encoder_folder), 64, tmp_path / "served")
