"""A checkpoint's files are looked at before an engine fails on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from predictors.runtime.errors import LoadError
from predictors.text_evaluator.weights import checksum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Gemma2ForCausalLM"]}))
    save_file({"a": torch.zeros(4), "b": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    return tmp_path


def test_the_same_files_have_the_same_checksum(folder: Path) -> None:
    assert checksum(folder) == checksum(folder)


def test_other_shapes_have_another_one(folder: Path) -> None:
    before = checksum(folder)
    save_file({"a": torch.zeros(5)}, folder / "model.safetensors")
    assert checksum(folder) != before


def test_weights_in_parts_are_all_looked_at(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(LoadError, match=r"model-2\.safetensors is missing"):
        checksum(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json cannot be read"),
        (lambda f: (f / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}'), "Gemma2"),
        (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b"PK"), "not a safetensors file"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-1]),
            "cut off",
        ),
    ],
)
def test_what_is_wrong_is_named(folder: Path, damage: object, said: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(LoadError, match=said):
        checksum(folder)
