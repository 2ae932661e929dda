"""The trained model as one quantised ONNX graph and the folder that serving reads."""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from predictors.multitask_nlp.artifact import FORMAT_VERSION, GRAPH, MANIFEST, TOKENIZERS, sha256
from predictors.multitask_nlp.engine import OUTPUTS, Engine
from predictors.multitask_nlp.tasks import NER_LABELS, SENTIMENTS
from predictors.multitask_nlp.tokenizer import TextTokenizer
from predictors.multitask_nlp.training import graph
from predictors.multitask_nlp.training.encoders import NoEncoder, load_encoder
from predictors.multitask_nlp.training.model import MultitaskModel
from predictors.runtime.folders import only_writer, write_checkpoint

OPSET = 17


class WrongWeights(Exception):
    """A state dict that is not this model's; one sentence."""


def export_fp32(model: MultitaskModel, file: Path) -> None:
    """One graph with the encoder once, four named outputs, any batch and length."""
    ids = torch.randint(1, 100, (2, 16))
    axes = {0: "batch", 1: "length"}
    model.eval()
    with warnings.catch_warnings(), torch.inference_mode(), _unscripted(model):
        warnings.simplefilter("ignore")  # the tracer's, about sizes that are constants here
        torch.onnx.export(
            model,
            (ids, torch.ones_like(ids)),
            str(file),
            input_names=["input_ids", "attention_mask"],
            output_names=list(OUTPUTS),
            dynamic_axes={"input_ids": axes, "attention_mask": axes, OUTPUTS[0]: {0: "batch"}}
            | dict.fromkeys(OUTPUTS[1:], axes),
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def _unscripted(model: MultitaskModel) -> Iterator[None]:
    """The encoder's own functions as they were before TorchScript compiled them, to be traced through.

    Compiled ones leave their branches in the graph, and OpenVINO runs none whose sides differ in rank
    (DeBERTa's relative positions).
    """
    place = vars(sys.modules[type(model.encoder).__module__])
    scripted = {name: value for name, value in place.items() if isinstance(value, torch.jit.ScriptFunction)}
    place.update(
        {name: getattr(function, "_torchdynamo_inline", function) for name, function in scripted.items()}
    )
    try:
        yield
    finally:
        place.update(scripted)


def export_int8(model: MultitaskModel, file: Path) -> None:
    """8-bit weights; activations are scaled as they come. BERTs have a graph of their own."""
    if graph.supported(model):
        graph.write_int8(model, file)
        return
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "model.onnx"
        export_fp32(model, plain)
        quantize_dynamic(plain, file, weight_type=QuantType.QInt8)


def check_served(model: MultitaskModel, name: str, max_length: int) -> None:
    """Raises NoEncoder when the engine cannot run what is exported of a model with the encoder ``name``.

    Weights do not matter, so it is known before a training what only its end would tell.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        try:
            export_int8(model, file)
            Engine(file, threads=1).logits([np.full(length, 1) for length in (3, max_length)])
        except Exception as error:  # the exporter raises classes of several packages
            kind = model.encoder.config.model_type
            first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            reason = first.replace(str(file), "the graph")
            raise NoEncoder(f"The encoder {name} ({kind}) cannot be served: {reason}.") from None


def artifact_files(
    model: MultitaskModel, tokenizer: TextTokenizer, record: Mapping[str, Any]
) -> dict[str, bytes]:
    """The served folder's files by name; ``record`` (how it was made) goes into the manifest."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / GRAPH).parent.mkdir()
        export_int8(model, folder / GRAPH)
        (folder / TOKENIZERS[0]).write_text(tokenizer.to_json(), "utf-8")
        manifest = {
            "format_version": FORMAT_VERSION,
            "max_length": tokenizer.max_length,
            "sentiments": list(SENTIMENTS),
            "ner_labels": list(NER_LABELS),
            "sha256": {name: sha256(folder / name) for name in (GRAPH, TOKENIZERS[0])},
            **record,
        }
        return {
            GRAPH: (folder / GRAPH).read_bytes(),
            TOKENIZERS[0]: (folder / TOKENIZERS[0]).read_bytes(),
            MANIFEST: (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode(),
        }


def export_weights(weights: Path, encoder_name: str, max_length: int, output: Path) -> None:
    """The served folder of a state dict, the published model.pt among them.

    Raises WrongWeights, NoEncoder or CannotWrite.
    """
    encoder = load_encoder(encoder_name, max_length)
    model = MultitaskModel(encoder.model)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no pickle may raise anything from the unpickler
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise WrongWeights(f"{weights} is not a state dict that can be read safely: {reason}.") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WrongWeights(f"{weights} must hold tensors by name and nothing else.")
    expected = model.state_dict()
    for what, names in (
        ("lacks", expected.keys() - state.keys()),
        ("holds what this model does not have:", state.keys() - expected.keys()),
    ):
        if names:
            raise WrongWeights(f"{weights} {what} {', '.join(sorted(names)[:3])}.")
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            shapes = f"{list(state[name].shape)}, expected {list(tensor.shape)}"
            raise WrongWeights(f"{weights} holds {name} of shape {shapes}.")
    model.load_state_dict(state)
    with only_writer(output):
        write_checkpoint(
            output, artifact_files(model, encoder.tokenizer, {"weights_sha256": sha256(weights)})
        )
