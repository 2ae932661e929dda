"""The served folder: complete and what its manifest says, or one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from predictors.multitask_nlp.artifact import GRAPH, MANIFEST, PUBLISHED_LENGTH, read_artifact, sha256
from predictors.multitask_nlp.tasks import NER_LABELS, SENTIMENTS
from predictors.runtime.errors import LoadError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "onnx").mkdir()
    (tmp_path / GRAPH).write_bytes(b"graph")
    (tmp_path / "tokenizer.json").write_text("{}")
    change(tmp_path, lambda manifest: None)
    return tmp_path


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = {
        "format_version": 1,
        "max_length": 128,
        "sentiments": list(SENTIMENTS),
        "ner_labels": list(NER_LABELS),
        "sha256": {name: sha256(folder / name) for name in (GRAPH, "tokenizer.json")},
    }
    edit(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_folder_of_our_export(folder: Path) -> None:
    artifact = read_artifact(folder)
    assert (artifact.max_length, artifact.checksum) == (128, sha256(folder / GRAPH))


def test_the_published_layout_has_no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer.json").rename(folder / "tokenizer" / "tokenizer.json")
    artifact = read_artifact(folder)
    assert artifact.max_length == PUBLISHED_LENGTH
    assert artifact.tokenizer == folder / "tokenizer" / "tokenizer.json"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f / GRAPH).unlink(), "has no file onnx/model.quant.onnx"),
        (lambda f: (f / GRAPH).write_bytes(b""), "is empty"),
        (lambda f: (f / GRAPH).write_bytes(b"other"), "checksum differs"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no file tokenizer.json"),
        (lambda f: (f / MANIFEST).write_text("{"), "not valid JSON"),
        (lambda f: (f / MANIFEST).write_text("[]"), "must hold a JSON object"),
        (lambda f: change(f, lambda m: m.update(format_version=2)), "gives format_version as 2"),
        (lambda f: change(f, lambda m: m.update(ner_labels=["O"])), "gives ner_labels as"),
        (lambda f: change(f, lambda m: m.update(max_length=0)), "gives max_length as 0"),
        (lambda f: change(f, lambda m: m.update(sha256={})), "must have an object sha256"),
        (lambda f: change(f, lambda m: m["sha256"].update({"../x": "0"})), "outside its folder"),
        (lambda f: change(f, lambda m: m["sha256"].update({"gone": "0"})), "has no file gone"),
    ],
)
def test_a_spoilt_folder_is_one_sentence(
    folder: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(folder)
    with pytest.raises(LoadError, match=sentence) as refused:
        read_artifact(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pickle_is_never_loaded(folder: Path) -> None:
    (folder / GRAPH).rename(folder / "model.pt")
    with pytest.raises(LoadError, match=r"model\.pt is a pickle, which is never loaded.*training export"):
        read_artifact(folder)
