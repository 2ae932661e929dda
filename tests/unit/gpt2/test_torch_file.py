"""torch.save's files read without torch: what torch reads, and nothing that a file wants to run."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from predictors.gpt2.artifact import Artifact
from predictors.gpt2.convert.torch_file import MoreThanTensors, NotATorchFile, is_zip, read
from tests.support.gpt2 import state_dict, write_vocabulary
from tests.support.servers import ROOT

WHOLE = torch.arange(24, dtype=torch.float32).reshape(4, 6)
TENSORS = {
    **{str(kind): WHOLE.to(kind) for kind in (torch.float64, torch.float16, torch.bfloat16)},
    **{str(kind): WHOLE.to(kind) for kind in (torch.int64, torch.int32, torch.int16, torch.int8)},
    **{str(kind): WHOLE.to(kind) for kind in (torch.uint8, torch.bool)},
    "as it is": WHOLE,
    "turned": WHOLE.T,
    "a part": WHOLE[1:3, ::2],
    "one number": torch.tensor(3.0),
    "none": torch.zeros(0, 3),
    "a parameter": torch.nn.Parameter(WHOLE.clone()),
}


def saved(folder: Path, content: object, **options: Any) -> Path:
    torch.save(content, folder / "model.pth", **options)
    return folder / "model.pth"


@pytest.mark.parametrize("protocol", [2, 3])  # others it does not read itself
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_it_reads_what_torch_reads(tmp_path: Path, protocol: int) -> None:
    linear = torch.nn.Linear(2, 3).state_dict()  # with `_metadata` beside its tensors
    path = saved(tmp_path, {"state_dict": {**TENSORS, **linear}, "own": linear}, pickle_protocol=protocol)
    assert is_zip(path)
    wanted, found = torch.load(path, weights_only=True), read(path)
    assert found.keys() == wanted.keys()
    for part in wanted:
        assert list(found[part]) == list(wanted[part])
        for name, tensor in wanted[part].items():
            exact = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
            assert found[part][name].dtype == exact.dtype
            np.testing.assert_array_equal(found[part][name], exact)


class _Runs:
    """Makes a pickle that runs this when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


class _Rebuilt(dict):
    """Puts attributes of its own choice onto what it names."""

    def __reduce__(self) -> Any:
        return dict, (), {"items": None}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "content",
    [
        {"a": _Runs(exec, "raise SystemExit('ran')")},
        {"a": _Runs(os.system, "touch ran")},
        {"a": _Runs(getattr, torch.nn.Linear, "forward")},
        _Rebuilt(),
        collections.OrderedDict(a=collections.Counter("ab")),
        torch.nn.Linear(2, 2),
    ],
    ids=["exec", "system", "getattr", "build", "counter", "module"],
)
def test_nothing_that_a_file_names_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MoreThanTensors):
        read(saved(tmp_path, content, pickle_protocol=protocol))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def written(folder: Path, description: bytes, *, compression: int = zipfile.ZIP_STORED) -> Path:
    """A file of this description, with four numbers."""
    with zipfile.ZipFile(folder / "model.pth", "w", compression) as file:
        file.writestr("model/data.pkl", description)
        file.writestr("model/data/0", np.arange(4, dtype=np.float32).tobytes())
    return folder / "model.pth"


def described(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 4, kind: bytes = b"Float"
) -> bytes:
    """A tensor, as torch describes it."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + value.to_bytes(4, "little", signed=True) for value in values) + b"t"

    storage = b"(X\x07\x00\x00\x00storagectorch\n%bStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" % kind
    storage += b"J%bt" % count.to_bytes(4, "little") + b"Q"
    rest = b"J%b" % offset.to_bytes(4, "little", signed=True) + numbers(size) + numbers(stride)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"\x89NtR."


def test_a_description_made_by_hand_is_read(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(written(tmp_path, described((2, 2), (2, 1)))), [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    "description",
    [
        described((5,), (1,)),
        described((2, 2), (4, 1)),
        described((2,), (1,), offset=3),
        described((1 << 30,), (0,)),
        described((-1,), (1,)),
        described((2,), (-1,), offset=3),
        described((2,), (1,), offset=-1),
        described((2, 2), (1,)),
        described((4,), (1,), count=5),
        described((4,), (1,), kind=b"Double"),
        b"\x80\x02.",
        b"\x80\x02}",
        b"\x80\x02R.",
        b"\x80\x02(t(t.",
        b"\x80\x02h\x05.",
        b"\x80\x02]}b.",
        b"hello",
        b"",
    ],
)
def test_what_is_not_there_is_not_read(tmp_path: Path, description: bytes) -> None:
    with pytest.raises(NotATorchFile):
        read(written(tmp_path, description))


def test_nothing_is_larger_than_the_file(tmp_path: Path) -> None:
    with pytest.raises(NotATorchFile, match="is compressed"):
        read(written(tmp_path, described((4,), (1,)), compression=zipfile.ZIP_DEFLATED))


def test_an_altered_number_is_seen(tmp_path: Path) -> None:
    path = written(tmp_path, described((4,), (1,)))
    path.write_bytes(path.read_bytes().replace(np.float32(3).tobytes(), np.float32(2).tobytes()))
    with pytest.raises(NotATorchFile, match="zip is not whole"):
        read(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_raises_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    with zipfile.ZipFile(saved(tmp_path, {"a": torch.ones(4), "b": torch.ones(4).double()})) as file:
        description = bytearray(file.read("model/data.pkl"))
    for _ in range(data.draw(st.integers(1, 4))):
        description[data.draw(st.integers(0, len(description) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotATorchFile, MoreThanTensors):
        read(written(tmp_path, bytes(description)))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True], ids=["state dict", "whole model"])
def test_a_published_checkpoint_is_converted_where_there_is_no_torch(tmp_path: Path, whole: bool) -> None:
    """As in the image that serves."""
    write_vocabulary(tmp_path)
    path = saved(tmp_path, torch.nn.Linear(2, 2) if whole else state_dict(layers=1))
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'safetensors', 'transformers']));"
        "from predictors.gpt2.convert.command import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "out")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if whole:
        assert (run.returncode, "convert --trust-pickle" in run.stderr) == (3, True)
    else:
        assert run.returncode == 0, run.stderr
        Artifact(tmp_path / "out").verify()


def test_other_pickles_are_no_zip(tmp_path: Path) -> None:
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": 1}))
    assert not is_zip(tmp_path / "plain.pth")
