"""The file of weights as the engine reads it: what was saved, without a copy, and faults named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from predictors.gpt2.engine.tensors import Tensors
from predictors.runtime.errors import LoadError

SAVED = {
    "a": np.arange(6, dtype=np.int8).reshape(2, 3),
    "b": np.array([[0.5], [-2.0]], np.float32),
    "c": np.zeros((1, 0), np.float16),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(SAVED, path)
    return path


def test_it_reads_what_was_saved_and_reads_it_again_when_its_memory_was_given_back(file: Path) -> None:
    tensors = Tensors(file)
    for _ in range(2):
        for name, array in SAVED.items():
            assert tensors[name].dtype == array.dtype
            assert np.array_equal(tensors[name], array)
        tensors.release()
    assert "a" in tensors
    assert "d" not in tensors
    with pytest.raises(LoadError, match="lack d"):
        tensors["d"]


@pytest.mark.parametrize("length", [0, 4, 40, -1])
def test_a_file_that_is_cut_off_is_refused(file: Path, length: int) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:length])
    with pytest.raises(LoadError, match="is not a file of tensors"):
        Tensors(file)


def test_another_type_is_refused(file: Path) -> None:
    save_file({"a": np.zeros(2, np.float64)}, file)
    with pytest.raises(LoadError, match="is not a file of tensors"):
        Tensors(file)
