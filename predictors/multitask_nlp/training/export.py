"""The trained model as one quantised ONNX graph and the folder that serving reads."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from predictors.multitask_nlp.artifact import FORMAT_VERSION, GRAPH, MANIFEST, TOKENIZERS, sha256
from predictors.multitask_nlp.engine import OUTPUTS
from predictors.multitask_nlp.tasks import NER_LABELS, SENTIMENTS
from predictors.multitask_nlp.tokenizer import TextTokenizer
from predictors.multitask_nlp.training.model import MultitaskModel

OPSET = 17


def export_fp32(model: MultitaskModel, file: Path) -> None:
    """One graph with the encoder once, four named outputs, any batch and length."""
    ids = torch.randint(1, 100, (2, 16))
    axes = {0: "batch", 1: "length"}
    model.eval()
    with warnings.catch_warnings(), torch.inference_mode():
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


def export_int8(model: MultitaskModel, file: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "model.onnx"
        export_fp32(model, plain)
        quantize_dynamic(plain, file, weight_type=QuantType.QInt8)


def artifact_files(
    model: MultitaskModel, tokenizer: TextTokenizer, record: Mapping[str, Any]
) -> dict[str, bytes]:
    """The served folder's files by name; ``record`` (how it was made, how good it is) goes into the manifest."""
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
